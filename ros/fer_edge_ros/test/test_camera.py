"""Camera images: a photograph that moves, found and followed by the node."""

from __future__ import annotations

import io
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import skimage.data
from diagnostic_msgs.msg import DiagnosticStatus
from hri_msgs.msg import Expression, IdsList, NormalizedRegionOfInterest2D
from PIL import Image as PillowImage
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from robot import SENSOR, NodeProcess, Received, Robot, image_message, wait_for

PHOTO = skimage.data.astronaut()
FACE = (155, 65, 140, 140)  # x, y, width, height
WARN = str(DiagnosticStatus.WARN[0])


def moved(number: int) -> np.ndarray:
    """Return a frame of 640 x 480 with the photograph at another place."""
    frame = np.zeros((480, 640, 3), np.uint8)
    left, top = place(number)
    part = PHOTO[: 480 - top, : 640 - left]
    frame[top : top + part.shape[0], left : left + part.shape[1]] = part
    return frame


def place(number: int) -> tuple[int, int]:
    return 40 + 2 * (number % 40), 20 + number % 20


class Camera:
    """Publisher of images, and subscriptions to the faces that the node finds in them."""

    def __init__(self, robot: Robot, topic: str, kind: Any = Image) -> None:
        self.robot = robot
        self.publisher = robot.node.create_publisher(kind, topic, QoSProfile(depth=1))
        self.tracked = robot.subscribe(IdsList, "/humans/faces/tracked")
        self.number = 0
        wait_for(self.publisher.get_subscription_count, "subscription to images")
        wait_for(self.tracked.matched, "list of faces")
        wait_for(lambda: self.requested_reliability() == ReliabilityPolicy.RELIABLE, "reliable subscription")

    def requested_reliability(self) -> ReliabilityPolicy | None:
        """Return the reliability of the node's subscription; None without a subscription."""
        infos = self.robot.node.get_subscriptions_info_by_topic(self.publisher.topic_name)
        return infos[0].qos_profile.reliability if infos else None

    def send(self, message: Any) -> Any:
        self.publisher.publish(message)
        self.number += 1
        time.sleep(0.05)
        return message

    def send_photo(self) -> Any:
        return self.send(image_message(moved(self.number), number=self.number))

    def find_face(self, send: Callable[[], Any]) -> str:
        """Send images until a face is tracked, and return its identifier."""

        def is_tracked() -> list[str]:
            send()
            return list(self.tracked.messages[-1].ids) if self.tracked.messages else []

        [face_id] = wait_for(is_tracked, "face")
        return str(face_id)

    def destroy(self) -> None:
        self.robot.node.destroy_publisher(self.publisher)
        self.tracked.destroy()


@pytest.fixture(scope="module", autouse=True)
def _no_detector(robot: Robot) -> Iterator[None]:
    robot.stop_detector()
    yield
    robot.start_detector()


@pytest.fixture(scope="module")
def node(start_node: Callable[..., NodeProcess], _no_detector: None) -> NodeProcess:
    return start_node(autostart=True, image_topic="/image_raw", faces=2).wait_active()


@pytest.fixture
def camera(node: NodeProcess, robot: Robot) -> Iterator[Camera]:
    camera = Camera(robot, "/image_raw")
    yield camera
    camera.destroy()


def test_face_is_found_followed_and_lost(camera: Camera, robot: Robot) -> None:
    face_id = camera.find_face(camera.send_photo)
    topic = f"/humans/faces/{face_id}"
    expressions = robot.subscribe(Expression, f"{topic}/expression")
    regions = robot.subscribe(NormalizedRegionOfInterest2D, f"{topic}/roi")
    crops = robot.subscribe(Image, f"{topic}/cropped", SENSOR)
    for output in (expressions, regions, crops):
        wait_for(output.matched, "publishers of the face")
    sent = [camera.send_photo() for _ in range(30)]
    check_answers(sent, expressions, regions, crops)
    assert {tuple(message.ids) for message in camera.tracked.messages[-20:]} == {(face_id,)}
    assert camera.tracked.messages[-1].header.frame_id.startswith("camera_")

    def is_lost() -> bool:
        camera.send(image_message(np.zeros((480, 640, 3), np.uint8), number=camera.number))
        return not camera.tracked.messages[-1].ids

    wait_for(is_lost, "end of the face")
    wait_for(lambda: not any(output.matched() for output in (expressions, regions, crops)), "end of the publishers")
    assert camera.find_face(camera.send_photo) != face_id
    for output in (expressions, regions, crops):
        output.destroy()


def check_answers(sent: list[Image], expressions: Received, regions: Received, crops: Received) -> None:
    """Check that answers have headers of images, and regions that are where the face was in them."""
    numbers = {message.header.stamp.sec: number for number, message in enumerate(sent)}
    headers = [message.header for message in sent]
    for output in (expressions, regions, crops):
        output.wait(11)
        assert all(message.header in headers for message in output.messages if message.header.stamp.sec in numbers)
    assert {message.expression for message in expressions.messages} == {"happy"}
    for message in regions.messages:
        number = message.header.stamp.sec - 1_700_000_000
        left, top = place(number)
        x, y = (message.xmin + message.xmax) / 2 * 640, (message.ymin + message.ymax) / 2 * 480
        assert abs(x - left - FACE[0] - FACE[2] / 2) < 25 and abs(y - top - FACE[1] - FACE[3] / 2) < 25
        assert 0 <= message.xmin < message.xmax <= 1 and 0 <= message.ymin < message.ymax <= 1
    crop = crops.messages[-1]
    assert (crop.width, crop.height, crop.encoding, len(crop.data)) == (128, 128, "rgb8", 128 * 128 * 3)


def test_camera_that_stops(camera: Camera, robot: Robot) -> None:
    camera.find_face(camera.send_photo)
    wait_for(lambda: not camera.tracked.messages[-1].ids, "empty list of faces")
    values = robot.status(lambda status, values: values.get("faces") == "0")
    assert values["level"] == WARN and "no image on /image_raw for" in values["message"]
    assert values["input"] == "/image_raw"


def test_subscription_requests_what_the_camera_offers(camera: Camera, robot: Robot) -> None:
    other = robot.node.create_publisher(Image, "/image_raw", SENSOR)
    wait_for(lambda: camera.requested_reliability() == ReliabilityPolicy.BEST_EFFORT, "best-effort subscription")
    camera.find_face(camera.send_photo)
    robot.node.destroy_publisher(other)
    wait_for(lambda: camera.requested_reliability() == ReliabilityPolicy.RELIABLE, "reliable subscription")
    camera.find_face(camera.send_photo)


def test_another_face_detector_is_reported(camera: Camera, robot: Robot) -> None:
    robot.start_detector()
    values = robot.status(lambda status, values: "another node" in status.message)
    assert values["level"] == WARN
    robot.stop_detector()


def test_wrong_images_are_refused(camera: Camera, robot: Robot) -> None:
    message = image_message(moved(0))
    message.height = 481
    camera.send(message)
    values = robot.status(lambda status, values: "refused" in status.message)
    assert "/image_raw: data has 921600 bytes" in values["message"]
    camera.find_face(camera.send_photo)


def test_compressed_images(start_node: Callable[..., NodeProcess], robot: Robot) -> None:
    start_node(autostart=True, image_topic="camera/compressed", image_transport="compressed").wait_active()
    camera = Camera(robot, "/camera/compressed", CompressedImage)

    def send() -> CompressedImage:
        file = io.BytesIO()
        PillowImage.fromarray(moved(camera.number)).save(file, "JPEG", quality=90)
        message = CompressedImage(format="jpeg")
        message.header.stamp.sec, message.data = 1 + camera.number, array("B", file.getvalue())
        camera.send(message)
        return message

    face_id = camera.find_face(send)
    expressions = robot.subscribe(Expression, f"/humans/faces/{face_id}/expression")
    wait_for(expressions.matched, "publisher")
    wait_for(lambda: send() and expressions.messages, "expression")
    assert expressions.messages[-1].expression == "happy"
    expressions.destroy()
    camera.destroy()
