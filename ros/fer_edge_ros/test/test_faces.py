"""Faces of a face detector (REP-155): the node in a process of its own, seen from other nodes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from diagnostic_msgs.msg import DiagnosticStatus
from hri_msgs.msg import Expression, IdsList
from rclpy.qos import DurabilityPolicy, QoSProfile

from fer_edge import Recognizer, read_image
from robot import RELIABLE, SENSOR, DetectedFace, NodeProcess, Robot, image_message, wait_for

FACE = skimage.data.astronaut()[65:205, 155:295]
OK, WARN, ERROR = (str(level[0]) for level in (DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR))


@pytest.fixture(scope="module")
def node(start_node: Callable[..., NodeProcess]) -> NodeProcess:
    return start_node(autostart=True, smoothing=False).wait_active()


@pytest.fixture(scope="module")
def recognizer() -> Iterator[Recognizer]:
    with Recognizer.open(threads=1) as recognizer:
        yield recognizer


@pytest.fixture
def face(node: NodeProcess, robot: Robot) -> Iterator[DetectedFace]:
    face = DetectedFace(robot, f"face{time.monotonic_ns()}")
    face.appear()
    yield face
    face.destroy()


def test_each_crop_gets_one_expression_with_its_header(
    node: NodeProcess, robot: Robot, recognizer: Recognizer, ferplus_faces: list[Path]
) -> None:
    """200 crops of two faces in turns: header, label, probabilities as in Python."""
    faces = [DetectedFace(robot, "f1", RELIABLE), DetectedFace(robot, "f2", SENSOR)]
    for face in faces:
        face.appear()
    crops = ferplus_faces[:100] * 2
    assert len(crops) == 200
    constants = dict(
        neutral="neutral", happiness="happy", surprise="surprised", sadness="sad", anger="angry", disgust="disgusted",
        fear="scared",
    )  # fmt: skip
    sent = []
    for number, path in enumerate(crops):
        pixels = read_image(path)
        message = image_message(
            pixels[..., ::-1] if number % 2 else pixels, "bgr8" if number % 2 else "rgb8", number=number
        )
        answer = faces[number % 2].send(message)
        expected = recognizer.recognize(pixels)
        if expected.label in constants:
            assert answer.expression == constants[expected.label]
            assert answer.confidence == pytest.approx(expected.score, abs=1e-6)
        assert (answer.valence, answer.arousal) == pytest.approx(expected.circumplex, abs=1e-6)
        sent.append((message.header, [*expected.scores.values()]))
    for index, face in enumerate(faces):
        assert [message.header for message in face.expressions.messages] == [header for header, _ in sent[index::2]]
        received = [message.data for message in face.probabilities.wait(100)]
        np.testing.assert_allclose(received, [scores for _, scores in sent[index::2]], atol=1e-6)
        face.destroy()


def test_encodings_give_the_same_expression(face: DetectedFace, recognizer: Recognizer) -> None:
    alpha = np.zeros((*FACE.shape[:2], 1), np.uint8)
    variants = {
        "rgb8": FACE,
        "bgr8": FACE[..., ::-1],
        "rgba8": np.dstack([FACE, alpha]),
        "bgra8": np.dstack([FACE[..., ::-1], alpha]),
        "mono8": FACE[..., 1:2],
    }
    expected = recognizer.recognize(FACE)
    grey = recognizer.recognize(np.repeat(FACE[..., 1:2], 3, axis=2))
    for number, (encoding, pixels) in enumerate(variants.items()):
        answer = face.send(image_message(pixels, encoding, padding=number, number=number))
        score = (grey if encoding == "mono8" else expected).score
        assert (answer.expression, answer.confidence) == ("happy", pytest.approx(score, abs=1e-6))


def test_newest_crop_wins(node: NodeProcess, robot: Robot, face: DetectedFace) -> None:
    """More crops than the node can process: the last one is answered, and all are counted."""
    before = robot.status(lambda status, values: values["state"] == "active")
    for number in range(150):
        face.publisher.publish(image_message(FACE, number=number))
    face.expressions.answer_to(image_message(FACE, number=149).header)
    stamps = [message.header.stamp.sec for message in face.expressions.messages]
    assert stamps == sorted(set(stamps)) and len(stamps) < 150
    names = ("received", "published", "replaced", "refused")

    def is_counted(status: DiagnosticStatus, values: dict[str, str]) -> bool:
        received, published, replaced, refused = (int(values[name]) - int(before[name]) for name in names)
        return published == len(stamps) and received == published + replaced and not refused

    robot.status(is_counted)


def test_killed_subscriber_costs_the_others_nothing(face: DetectedFace, tmp_path: Path) -> None:
    code = f"""
import rclpy
from hri_msgs.msg import Expression
rclpy.init()
node = rclpy.create_node("victim")
node.create_subscription(Expression, "/humans/faces/{face.face_id}/expression",
    lambda _: print("received", flush=True), 1)
rclpy.spin(node)
"""
    output = tmp_path / "victim.txt"
    numbers = iter(range(10_000))
    with output.open("w") as file, subprocess.Popen([sys.executable, "-c", code], stdout=file) as victim:
        wait_for(lambda: face.send(image_message(FACE, number=next(numbers))) and output.read_text(), "victim")
        victim.send_signal(signal.SIGKILL)
        before = len(face.expressions.messages)
        for _ in range(30):
            face.send(image_message(FACE, number=next(numbers)))
    assert len(face.expressions.messages) == before + 30


def test_faces_that_vanish_and_come_back(node: NodeProcess, robot: Robot) -> None:
    face = DetectedFace(robot, "guest")
    for round_number in range(3):
        face.appear()
        face.send(image_message(FACE, number=round_number))
        face.vanish()
    assert len(face.expressions.messages) == 3
    face.destroy()


def test_publishers_live_as_long_as_the_face(face: DetectedFace, robot: Robot) -> None:
    topic = f"/humans/faces/{face.face_id}/expression"

    def endpoints() -> list[bytes]:
        return [bytes(info.endpoint_gid) for info in robot.node.get_publishers_info_by_topic(topic)]

    before = endpoints()
    for number in range(5):
        robot.publish_ids()
        face.send(image_message(FACE, number=number))
    assert len(before) == 1 and endpoints() == before


def test_vanished_detector(node: NodeProcess, robot: Robot) -> None:
    face = DetectedFace(robot, "orphan")
    face.appear()
    robot.stop_detector()
    wait_for(lambda: not face.expressions.matched(), "end of the topics")
    values = robot.status(lambda status, values: values.get("faces") == "0")
    assert (
        values["level"] == WARN and "no publisher of /humans/faces/tracked: start a face detector" in values["message"]
    )
    robot.start_detector()
    face.appear()
    face.send(image_message(FACE))
    face.destroy()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"encoding": "16UC1"}, "encoding is '16UC1'; expected one of"),
        ({"step": 3}, "step is 3 bytes"),
        ({"height": 2**31}, "size is"),
        ({"height": 139}, "data has"),
    ],
)
def test_wrong_images_are_refused(face: DetectedFace, robot: Robot, changes: dict[str, object], reason: str) -> None:
    message = image_message(FACE, number=1)
    for name, value in changes.items():
        setattr(message, name, value)
    face.publisher.publish(message)
    values = robot.status(lambda status, values: "1 refused" in status.message)
    assert values["level"] == WARN and reason in values["message"] and face.face_id in values["message"]
    assert face.send(image_message(FACE, number=2)).expression == "happy"


@pytest.mark.parametrize("face_id", ["23bd5", "a b", "", "a//b", "\N{SNOWMAN}", "x" * 300, "{a}", "../../tmp"])
def test_wrong_identifiers_are_refused(node: NodeProcess, robot: Robot, face: DetectedFace, face_id: str) -> None:
    robot.tracked_ids.add(face_id)
    robot.publish_ids()
    values = robot.status(lambda status, values: "refused" in status.message)
    assert values["level"] == WARN and "/humans/faces/tracked" in values["message"] and values["faces"] == "1"
    robot.tracked_ids.discard(face_id)
    robot.publish_ids()
    assert face.send(image_message(FACE, number=3)).expression == "happy"


def test_more_faces_than_allowed(node: NodeProcess, robot: Robot, face: DetectedFace) -> None:
    robot.tracked_ids.update(f"many{index}" for index in range(1000))
    robot.publish_ids()
    values = robot.status(lambda status, values: "refused" in status.message)
    assert "1001 faces; the parameter faces allows 8" in values["message"] and values["faces"] == "8"
    robot.tracked_ids -= {f"many{index}" for index in range(1000)}
    robot.publish_ids()
    assert face.send(image_message(FACE, number=3)).expression == "happy"


def test_qos(node: NodeProcess, robot: Robot, face: DetectedFace) -> None:
    """Reliable and best-effort subscriptions receive expressions; one that wants old ones is reported."""
    topic = f"/humans/faces/{face.face_id}/expression"
    best_effort = robot.subscribe(Expression, topic, SENSOR)
    late = robot.subscribe(Expression, topic, QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    values = robot.status(lambda status, values: "incompatible" in status.message)
    assert values["level"] == WARN and "another DURABILITY than the node offers" in values["message"]
    time.sleep(0.2)
    answer = face.send(image_message(FACE, number=5))
    best_effort.answer_to(answer.header)
    assert not late.messages
    best_effort.destroy()
    late.destroy()


def test_processing_rate_may_change_while_the_node_runs(robot: Robot, face: DetectedFace) -> None:
    assert robot.set_parameter("processing_rate", 5.0) == (True, "")
    skipped = int(robot.status(lambda status, values: True)["skipped"])
    for number in range(20):
        face.publisher.publish(image_message(FACE, number=number))
        time.sleep(0.05)
    assert int(robot.status(lambda status, values: True)["skipped"]) > skipped
    assert 2 <= len(face.expressions.messages) <= 8
    assert robot.set_parameter("processing_rate", 0.0) == (True, "")
    successful, reason = robot.set_parameter("processing_rate", -1.0)
    assert not successful and "range" in reason


def test_parameters_are_described(node: NodeProcess, robot: Robot) -> None:
    names = ["bundle", "engine", "threads", "image_topic", "faces", "valence_arousal", "processing_rate"]
    descriptors = {descriptor.name: descriptor for descriptor in robot.describe(names)}
    assert all(len(descriptor.description) > 20 for descriptor in descriptors.values())
    assert {name for name, descriptor in descriptors.items() if not descriptor.read_only} == {"processing_rate"}
    assert descriptors["threads"].integer_range[0].to_value == 256
    assert descriptors["valence_arousal"].additional_constraints == "one of: derived, zero, nan"
    assert not robot.set_parameter("bundle", "other.fer")[0]


def test_status_describes_the_node(robot: Robot, face: DetectedFace) -> None:
    face.send(image_message(FACE))
    values = robot.status(lambda status, values: values["latency p50, ms"] != "")
    assert values["level"] == OK and values["state"] == "active" and values["faces"] == "1"
    assert (values["bundle"], values["engine"], values["input"]) == ("edge", "openvino", "/humans/faces/tracked")
    assert 0 < float(values["latency p50, ms"]) <= float(values["latency p99, ms"])


def test_node_needs_no_torch(node: NodeProcess) -> None:
    maps = Path(f"/proc/{node.process.pid}/maps").read_text()
    assert "openvino" in maps and "torch" not in maps and "onnxruntime" not in maps


def test_ids_of_the_detector_are_read_best_effort(node: NodeProcess, robot: Robot) -> None:
    """A detector that publishes its list best effort is compatible too."""
    publisher = robot.node.create_publisher(IdsList, "/humans/faces/tracked", SENSOR)
    wait_for(publisher.get_subscription_count, "subscription")
    robot.node.destroy_publisher(publisher)


def test_aligned_images(start_node: Callable[..., NodeProcess], robot: Robot) -> None:
    start_node(autostart=True, face_image="aligned").wait_active()
    face = DetectedFace(robot, "aligned", image="aligned")
    face.appear()
    assert face.send(image_message(FACE)).expression == "happy"
    face.destroy()


def test_smoothing(start_node: Callable[..., NodeProcess], robot: Robot, recognizer: Recognizer) -> None:
    """A single other crop between many equal ones does not change the label."""
    start_node(autostart=True).wait_active()
    face = DetectedFace(robot, "smooth")
    face.appear()
    grey = np.full_like(FACE, 128)
    raw = recognizer.recognize(grey)
    answers = [face.send(image_message(grey if number == 10 else FACE, number=number)) for number in range(12)]
    assert raw.label != "happiness"
    assert [answer.expression for answer in answers] == ["happy"] * 12
    assert answers[10].confidence < answers[9].confidence
    face.destroy()
