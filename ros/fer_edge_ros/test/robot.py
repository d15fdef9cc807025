"""Robot around the node: publishers, subscriptions, lifecycle, parameters and diagnostics, as other nodes use them."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from hri_msgs.msg import Expression, IdsList
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import ParameterDescriptor
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Float32MultiArray, Header

NAME = "fer_edge_expression"
WAIT_SECONDS = 30.0  # far more than anything takes
RELIABLE = QoSProfile(depth=50)
TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
    "shutdown": Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
}


def wait_for(condition: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> Any:
    """Return the first value of a condition that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"no {what} after {seconds:g} s")


def image_message(pixels: npt.NDArray[np.uint8], encoding: str = "rgb8", *, padding: int = 0, number: int = 0) -> Image:
    """Return a message of pixels in the order of the encoding, with padded rows and a stamp of its own."""
    rows = pixels.reshape(len(pixels), -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=padded.shape[1])
    message.data = array("B", padded.tobytes())
    message.header.stamp.sec, message.header.stamp.nanosec = 1_700_000_000 + number, 1 + number
    message.header.frame_id = f"camera_{number % 3}"
    return message


class Received:
    """Subscription, and the messages that it has received."""

    def __init__(self, node: Node, kind: Any, topic: str, qos: QoSProfile) -> None:
        self._node = node
        self.messages: list[Any] = []
        self.subscription = node.create_subscription(kind, topic, self.messages.append, qos)

    def matched(self) -> bool:
        return bool(self._node.count_publishers(self.subscription.topic_name))

    def wait(self, count: int = 1) -> list[Any]:
        wait_for(lambda: len(self.messages) >= count, f"{count} messages on {self.subscription.topic_name}")
        return self.messages

    def answer_to(self, header: Header) -> Any:
        """Return the message with a header."""
        return wait_for(
            lambda: next((message for message in [*self.messages] if message.header == header), None),
            f"message with the header {header} on {self.subscription.topic_name}",
        )

    def destroy(self) -> None:
        self._node.destroy_subscription(self.subscription)


class DetectedFace:
    """A face of a face detector, and the subscriptions to its expressions."""

    def __init__(self, robot: Robot, face_id: str, qos: QoSProfile = RELIABLE, image: str = "cropped") -> None:
        self._robot = robot
        topic = f"/humans/faces/{face_id}"
        self.face_id = face_id
        self.publisher = robot.node.create_publisher(Image, f"{topic}/{image}", qos)
        self.expressions = robot.subscribe(Expression, f"{topic}/expression")
        self.probabilities = robot.subscribe(Float32MultiArray, f"{topic}/expression_probabilities")

    def appear(self) -> None:
        """Report the face as tracked until the node has subscribed to it."""
        self._robot.tracked_ids.add(self.face_id)
        self._robot.publish_ids()

        def is_matched() -> bool:
            self._robot.publish_ids()
            time.sleep(0.02)
            outputs = (self.expressions, self.probabilities)
            return self.publisher.get_subscription_count() > 0 and all(output.matched() for output in outputs)

        wait_for(is_matched, f"subscription to {self.face_id}")
        time.sleep(0.1)  # the other side may match later

    def send(self, message: Image) -> Expression:
        """Publish a crop, and return the answer."""
        self.publisher.publish(message)
        answer: Expression = self.expressions.answer_to(message.header)
        return answer

    def vanish(self) -> None:
        """Report the face as no longer tracked until the node has destroyed its publishers."""
        self._robot.tracked_ids.discard(self.face_id)

        def is_gone() -> bool:
            self._robot.publish_ids()
            time.sleep(0.02)
            return not self.expressions.matched() and not self.publisher.get_subscription_count()

        wait_for(is_gone, f"end of the topics of {self.face_id}")

    def destroy(self) -> None:
        self.vanish()
        self._robot.node.destroy_publisher(self.publisher)
        self.expressions.destroy()
        self.probabilities.destroy()


class Robot:
    """Node with a thread of its own."""

    def __init__(self) -> None:
        self.node = Node("robot")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        self._clients: dict[str, Any] = {}
        self.node_name = ""  # of the node under test
        self.tracked_ids: set[str] = set()
        self._tracked = self.node.create_publisher(IdsList, "/humans/faces/tracked", 1)
        self._diagnostics = self.subscribe(DiagnosticArray, "/diagnostics")

    def __enter__(self) -> Robot:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()

    def subscribe(self, kind: Any, topic: str, qos: QoSProfile = RELIABLE) -> Received:
        return Received(self.node, kind, topic, qos)

    def publish_ids(self) -> None:
        self._tracked.publish(IdsList(ids=sorted(self.tracked_ids)))

    def stop_detector(self) -> None:
        """Destroy the publisher of tracked faces."""
        self.tracked_ids.clear()
        self.node.destroy_publisher(self._tracked)

    def start_detector(self) -> None:
        self._tracked = self.node.create_publisher(IdsList, "/humans/faces/tracked", 1)

    def call(self, kind: Any, service: str, request: Any) -> Any:
        """Return the response of a service of the node."""
        future = self.request(kind, service, request)
        wait_for(future.done, f"response of {service}")
        return future.result()

    def request(self, kind: Any, service: str, request: Any) -> Any:
        """Call a service of the node, and return the future of its response."""
        name = f"/{self.node_name}/{service}"
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
        client = self._clients[name]
        assert client.wait_for_service(WAIT_SECONDS), f"no service {service}"
        return client.call_async(request)

    def change_state(self, name: str) -> bool:
        future = self.request_state(name)
        wait_for(future.done, "response of change_state")
        return bool(future.result().success)

    def request_state(self, name: str) -> Any:
        request = ChangeState.Request(transition=Transition(id=TRANSITIONS[name]))
        return self.request(ChangeState, "change_state", request)

    def state(self) -> str:
        return str(self.call(GetState, "get_state", GetState.Request()).current_state.label)

    def describe(self, names: list[str]) -> list[ParameterDescriptor]:
        response = self.call(DescribeParameters, "describe_parameters", DescribeParameters.Request(names=names))
        return list(response.descriptors)

    def set_parameter(self, name: str, value: Any) -> tuple[bool, str]:
        parameter = Parameter(name, value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[parameter])
        result = self.call(SetParameters, "set_parameters", request).results[0]
        return result.successful, result.reason

    def status(self, condition: Callable[[DiagnosticStatus, dict[str, str]], bool]) -> dict[str, str]:
        """Return the values of the next status that fulfils a condition, with its level and message."""
        start = len(self._diagnostics.messages)

        def find() -> dict[str, str] | None:
            for message in self._diagnostics.messages[start:]:
                for status in message.status:
                    values = {pair.key: pair.value for pair in status.values}
                    if status.name.startswith(NAME) and condition(status, values):
                        return {**values, "level": str(status.level[0]), "message": status.message}
            return None

        values: dict[str, str] = wait_for(find, "such a status")
        return values


class NodeProcess:
    """Node in a process of its own, started as `ros2 run` starts it."""

    def __init__(self, executable: Path, robot: Robot, parameters: dict[str, Any]) -> None:
        self._robot = robot
        # A name of its own: requests must not reach a node that is about to end.
        robot.node_name = f"{NAME}_{time.monotonic_ns()}"
        self.log = executable.parents[4] / f"node-{time.monotonic_ns()}.log"
        install = executable.parents[2]
        site = next(install.glob("lib/python*/site-packages"))
        environment = {**os.environ, "PYTHONPATH": f"{site}:{Path(__file__).parents[3]}", "PYTHONUNBUFFERED": "1"}
        environment["AMENT_PREFIX_PATH"] = f"{install}:{os.environ['AMENT_PREFIX_PATH']}"
        texts = {name: str(value).lower() if isinstance(value, bool) else value for name, value in parameters.items()}
        options = [word for name, value in texts.items() for word in ("-p", f"{name}:={value}")]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [executable, "--ros-args", "-r", f"__node:={robot.node_name}", *options],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_active(self) -> NodeProcess:
        """Wait for the first status of the active node."""

        def is_active(status: DiagnosticStatus, values: dict[str, str]) -> bool:
            assert self.process.poll() is None, self.text()
            return values["state"] == "active"

        self._robot.status(is_active)
        return self

    def text(self) -> str:
        return self.log.read_text()

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal, and return the exit status; may be called several times."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(WAIT_SECONDS)


SENSOR = qos_profile_sensor_data
