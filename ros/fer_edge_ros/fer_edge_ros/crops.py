"""Faces of a face detector that follows REP-155: identifiers and images in, expressions out."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from hri_msgs.msg import IdsList
from rclpy.exceptions import InvalidTopicNameException
from rclpy.validate_full_topic_name import validate_full_topic_name
from sensor_msgs.msg import Image

from fer_edge.faces.smoothing import HYSTERESIS, OneEuro, Smoother
from fer_edge_ros.outputs import FaceOutput
from fer_edge_ros.source import FaceSource
from fer_edge_ros.topics import FACES, INPUT_QOS, TRACKED

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.subscription import Subscription
    from std_msgs.msg import Header

    from fer_edge import Expression, Recognizer
    from fer_edge_ros.messages import MessageWriter
    from fer_edge_ros.pixels import Pixels
    from fer_edge_ros.report import Report
    from fer_edge_ros.settings import Settings

GAP_SECONDS = 1.0  # without an image after which smoothing starts again


@dataclass
class _DetectedFace:
    subscription: Subscription[Image]
    output: FaceOutput
    smoother: Smoother
    time: float = 0.0  # of the last expression, of `time.monotonic`


class CropSource(FaceSource):
    """Source of faces from a face detector.

    Args:
        node: Active node.
        report: Counts.
        recognizer: Open recognizer.
        writer: Converter of expressions.
        settings: Parameters.
    """

    def __init__(
        self, node: Node, report: Report, recognizer: Recognizer, writer: MessageWriter, settings: Settings
    ) -> None:
        super().__init__(node, report)
        self._recognizer, self._writer, self._settings = recognizer, writer, settings
        self._faces: dict[str, _DetectedFace] = {}
        self._lock = threading.Lock()  # a face must not be removed while the worker publishes
        self._tracked = node.create_subscription(
            IdsList, TRACKED, self._on_tracked, INPUT_QOS, event_callbacks=self._events
        )

    def face_count(self) -> int:
        """Return the number of faces that the detector reports."""
        return len(self._faces)

    def check(self) -> str:
        """Remove all faces if the face detector has vanished."""
        if self._node.count_publishers(TRACKED):
            return ""
        for face_id in [*self._faces]:
            self._remove(face_id)
        return f"no publisher of {TRACKED}: start a face detector, or set image_topic to find faces in camera images"

    def close(self) -> None:
        """Destroy subscriptions and publishers, and end the worker."""
        self._node.destroy_subscription(self._tracked)
        self._worker.close()
        for face_id in [*self._faces]:
            self._remove(face_id)

    def _on_tracked(self, message: IdsList) -> None:
        ids = dict.fromkeys(message.ids)  # without duplicates, in order
        for face_id in self._faces.keys() - ids.keys():
            self._remove(face_id)
        for face_id in ids.keys() - self._faces.keys():
            if len(self._faces) >= self._settings.faces:
                self._refuse(f"{TRACKED} has {len(ids)} faces; the parameter faces allows {self._settings.faces}")
                break
            self._add(face_id)

    def _add(self, face_id: str) -> None:
        topic = f"{FACES}/{face_id}/{self._settings.face_image}"
        try:
            validate_full_topic_name(topic)
        except InvalidTopicNameException as error:
            self._refuse(f"{TRACKED}: {' '.join(str(error).split())}")
            return
        smoothing = OneEuro() if self._settings.smoothing else None
        face = _DetectedFace(
            self._node.create_subscription(
                Image, topic, partial(self._accept, face_id), INPUT_QOS, event_callbacks=self._events
            ),
            FaceOutput(self._node, face_id, self._writer, self._report, with_image=False),
            Smoother(smoothing, HYSTERESIS if self._settings.smoothing else 0.0),
        )
        self._faces[face_id] = face

    def _remove(self, face_id: str) -> None:
        with self._lock:
            face = self._faces.pop(face_id)
            self._node.destroy_subscription(face.subscription)
            face.output.destroy()
        self._worker.discard(face_id)
        self._due.pop(face_id, None)

    def _process(self, key: str, header: Header, pixels: Pixels, arrival: float) -> None:
        expression = self._recognizer.recognize(pixels.frame, color=pixels.color)
        with self._lock:
            face = self._faces.get(key)
            if face is None:  # removed meanwhile
                return
            if self._settings.smoothing:
                expression = _smooth(face, expression)
            face.output.publish(header, expression)
        self._report.count_result(time.monotonic() - arrival, expression.warning, is_certain=expression.certain)


def _smooth(face: _DetectedFace, expression: Expression) -> Expression:
    """Return the expression with smoothed probabilities, as `ExpressionTracker` smooths them."""
    now, smoother = time.monotonic(), face.smoother
    if now - face.time > GAP_SECONDS:
        smoother.reset()
    face.time = now
    scores = smoother.update(np.array([*expression.scores.values()]), now).tolist()
    labels = [*expression.scores]
    return replace(
        expression,
        label=labels[smoother.label],
        score=scores[smoother.label],
        scores=dict(zip(labels, scores, strict=True)),
        min_score=smoother.min_score,
    )
