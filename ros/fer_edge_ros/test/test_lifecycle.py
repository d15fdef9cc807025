"""Lifecycle: transitions, failures, signals."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from diagnostic_msgs.msg import DiagnosticStatus

from fer_edge import Recognizer
from robot import DetectedFace, NodeProcess, Robot, image_message, wait_for
from tests import tiny

FACE = skimage.data.astronaut()[65:205, 155:295]
ERROR = str(DiagnosticStatus.ERROR[0])


def test_transitions(start_node: Callable[..., NodeProcess], robot: Robot) -> None:
    node = start_node(smoothing=False)
    assert robot.state() == "unconfigured"
    if os.environ["ROS_DISTRO"] == "jazzy":  # its rclpy does not answer such a request
        robot.request_state("activate")
        wait_for(lambda: "request not possible" in node.text(), "message")
    else:
        assert not robot.change_state("activate")
    face = DetectedFace(robot, "f1")
    for _ in range(2):
        assert robot.change_state("configure") and robot.state() == "inactive"
        assert robot.node.count_subscribers("/humans/faces/tracked") == 0
        for _ in range(2):
            assert robot.change_state("activate") and robot.state() == "active"
            face.appear()
            face.send(image_message(FACE, number=len(face.expressions.messages)))
            assert robot.change_state("deactivate") and robot.state() == "inactive"
            wait_for(lambda: not face.expressions.matched(), "end of the topics")
            wait_for(lambda: not face.publisher.get_subscription_count(), "end of the subscription")
            robot.status(lambda status, values: status.message.startswith("inactive"))
        assert robot.change_state("cleanup") and robot.state() == "unconfigured"
    assert len(face.expressions.messages) == 4
    assert robot.change_state("shutdown") and robot.state() == "finalized"
    face.destroy()
    assert node.stop() == 0
    assert "Traceback" not in node.text()


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"bundle": "nonsense"}, "no bundle at nonsense; expected a file, or one that is shipped: edge"),
        ({"engine": "tensorrt"}, "tensorrt"),
        ({"image_topic": "/image raw"}, "parameter image_topic: Invalid topic name: "),
        ({"valence_arousal": "guess"}, "parameter valence_arousal is 'guess'; expected one of: derived, zero, nan"),
    ],
)
def test_failed_configuration_is_explained(
    start_node: Callable[..., NodeProcess], robot: Robot, parameters: dict[str, str], reason: str
) -> None:
    node = start_node(**parameters)
    assert not robot.change_state("configure") and robot.state() == "unconfigured"
    values = robot.status(lambda status, values: True)
    assert values["level"] == ERROR and reason in values["message"]
    assert "cannot configure: " in node.text() and "Traceback" not in node.text()


def test_failed_autostart_ends_the_process(start_node: Callable[..., NodeProcess]) -> None:
    node = start_node(autostart=True, bundle="nonsense")
    assert node.process.wait(30) == 1
    assert "no bundle at nonsense" in node.text()


@pytest.mark.parametrize("parameters", [{"threads": "many"}, {"threads": 1000}, {"faces": 0}])
def test_wrong_parameter_ends_the_process(
    start_node: Callable[..., NodeProcess], parameters: dict[str, object]
) -> None:
    node = start_node(**parameters)
    assert node.process.wait(30) == 2
    assert next(iter(parameters)) in node.text() and "Traceback" not in node.text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_an_active_node(start_node: Callable[..., NodeProcess], robot: Robot, number: int) -> None:
    node = start_node(autostart=True).wait_active()
    face = DetectedFace(robot, "f2")
    face.appear()
    face.publisher.publish(image_message(FACE))
    assert node.stop(number) == 0
    assert "Traceback" not in node.text()
    robot.tracked_ids.clear()


def test_contempt(start_node: Callable[..., NodeProcess], robot: Robot, tmp_path: Path) -> None:
    """A model that sees contempt in white images: the next best label, or contempt itself, with all probabilities."""
    white = np.full((64, 64, 3), 255, np.uint8)
    with Recognizer.open(tiny.tiny_bundle(tmp_path / "tiny.fer")) as recognizer:
        scores = [*recognizer.recognize(white).scores.values()]
    labels = ["neutral", "happiness"]
    labels.insert(int(np.argmax(scores)), "contempt")
    bundle = tiny.tiny_bundle(tmp_path / "contempt.fer", labels=tuple(labels), words=tuple(labels))
    best = max((score, label) for score, label in zip(scores, labels, strict=True) if label != "contempt")
    constants = {"neutral": "neutral", "happiness": "happy", "contempt": "contempt"}
    for choice, (score, label) in {"next-best": best, "publish": (max(scores), "contempt")}.items():
        start_node(autostart=True, bundle=bundle, unlisted_labels=choice, smoothing=False).wait_active()
        face = DetectedFace(robot, f"face_{choice[:4]}")
        face.appear()
        answer = face.send(image_message(white))
        assert (answer.expression, answer.confidence) == (constants[label], pytest.approx(score, abs=1e-6))
        [probabilities] = face.probabilities.wait()
        assert probabilities.layout.dim[0].label == ",".join(labels)
        assert probabilities.data == pytest.approx(scores, abs=1e-6)
        face.destroy()
