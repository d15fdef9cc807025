"""Fixtures: the package built by colcon, nodes started from it, and a robot around them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Another domain for each run: the nodes of another one on this machine must not be seen.
os.environ["ROS_DOMAIN_ID"] = str(random.randint(1, 99))
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

import rclpy

from robot import NodeProcess, Robot

PACKAGE = Path(__file__).parents[1]
SHARED = PACKAGE.parents[2] / "shared"


@pytest.fixture(scope="session")
def executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the executable of the package, built and installed by colcon."""
    folder = tmp_path_factory.mktemp("colcon")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "colcon",
        "--log-base",
        folder / "log",
        "build",
        "--base-paths",
        PACKAGE,
    ]
    command += ["--build-base", folder / "build", "--install-base", folder / "install"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "install" / "fer_edge_ros" / "lib" / "fer_edge_ros" / "expression"


@pytest.fixture(scope="session")
def robot() -> Iterator[Robot]:
    """Return the other nodes of a robot."""
    rclpy.init()
    with Robot() as robot:
        yield robot
    rclpy.try_shutdown()


@pytest.fixture(scope="module")
def start_node(executable: Path, robot: Robot) -> Iterator[Callable[..., NodeProcess]]:
    """Return a function that starts a node with parameters, which ends after the tests of the module."""
    nodes: list[NodeProcess] = []

    def start(**parameters: object) -> NodeProcess:
        for node in nodes:  # one at a time: they would answer each other's faces
            node.stop()
        nodes.append(NodeProcess(executable, robot, parameters))
        return nodes[-1]

    yield start
    for node in nodes:
        node.stop()


@pytest.fixture(scope="session")
def ferplus_faces(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return face crops of FERPlus; tests skip without them, except in CI."""
    archive = SHARED / "data" / "ferplus-train-valid.tar"
    if not archive.exists():
        if os.environ.get("FER_EDGE_REQUIRE_SHARED"):
            pytest.fail(f"{archive} is missing, and FER_EDGE_REQUIRE_SHARED forbids skipping")
        pytest.skip("needs FERPlus in shared/ beside the checkout")
    folder = tmp_path_factory.mktemp("ferplus")
    command: list[str | Path] = ["tar", "-xf", archive, "-C", folder, "--wildcards", "*FER2013Valid/fer00287*.png"]
    subprocess.run(command, check=True)
    return sorted(folder.rglob("*.png"))
