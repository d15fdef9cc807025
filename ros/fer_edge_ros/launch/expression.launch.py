"""Launch of the node, configured and activated."""

from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Return the node with its arguments."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "params_file",
                default_value=PathJoinSubstitution([FindPackageShare("fer_edge_ros"), "config", "faces.yaml"]),
                description="YAML file with the parameters of the node",
            ),
            DeclareLaunchArgument(
                "autostart",
                default_value="true",
                description="Whether the node configures and activates itself; false for a lifecycle manager",
            ),
            LifecycleNode(
                package="fer_edge_ros",
                executable="expression",
                name="fer_edge_expression",
                namespace="",
                output="both",
                parameters=[
                    LaunchConfiguration("params_file"),
                    {"autostart": ParameterValue(LaunchConfiguration("autostart"), value_type=bool)},
                ],
            ),
        ]
    )
