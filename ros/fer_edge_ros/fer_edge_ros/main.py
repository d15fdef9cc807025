"""Executable of the node."""

from __future__ import annotations

import sys

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import TransitionCallbackReturn

from fer_edge_ros.node import NAME, ExpressionNode

RCLError = rclpy_implementation.RCLError


def main(args: list[str] | None = None) -> int:
    """Run the node until a signal.

    Args:
        args: Command line; None: that of the process.

    Returns:
        Exit status: 0, 1 if the node does not start by itself, 2 for a wrong parameter.
    """
    rclpy.init(args=args)
    try:
        node = ExpressionNode()
    except ParameterException as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    try:
        if node.get_parameter("autostart").value and not start(node):
            return 1
        spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.close()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


def spin(node: ExpressionNode) -> None:
    """Run the callbacks of a node until a signal.

    In Jazzy, a request for a transition that the present state does not allow raises an error here.
    """
    while rclpy.ok():
        try:
            rclpy.spin(node)
        except RCLError as error:
            if rclpy.ok():
                node.get_logger().error(f"request not possible: {error}")


def start(node: ExpressionNode) -> bool:
    """Configure and activate a node.

    Returns:
        Whether both have succeeded.
    """
    return all(
        transition() == TransitionCallbackReturn.SUCCESS
        for transition in (node.trigger_configure, node.trigger_activate)
    )
