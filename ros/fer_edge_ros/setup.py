"""Build of the ROS 2 package, by colcon."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "fer_edge_ros"

setup(
    name=NAME,
    version="0.1.0",
    description="Facial expressions for ROS 2, on the runtime of fer-edge",
    license="MIT",
    packages=find_packages(include=[NAME]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/config", [str(path) for path in Path("config").glob("*.yaml")]),
        (f"share/{NAME}/launch", [str(path) for path in Path("launch").glob("*.launch.py")]),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    entry_points={"console_scripts": ["expression = fer_edge_ros.main:main"]},
)
