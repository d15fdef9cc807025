"""Updates with people whose expressions are set."""

from __future__ import annotations

import numpy as np

from fer_edge.expression import Expression
from fer_edge.faces.face import Face
from fer_edge.faces.tracker import TrackedFace
from fer_edge.labels import FERPLUS
from fer_edge.live import Update
from fer_edge.video import SourceState, VideoFrame

LABELS = FERPLUS.labels


def expression(label: str, score: float = 0.9, warning: str = "") -> Expression:
    """Return an expression; the other labels share the rest of the probability."""
    rest = (1 - score) / (len(LABELS) - 1)
    return Expression(label, score, {name: score if name == label else rest for name in LABELS}, warning)


def person(number: int, label: str, score: float = 0.9, width: float = 100, warning: str = "") -> TrackedFace:
    face = Face((0, 0, width, width), 1, np.zeros((5, 2)))
    present = expression(label, score, warning)
    return TrackedFace(number, face, present, present, 0, True)


def update(*people: TrackedFace) -> Update:
    return Update(people, 0, None, None, 0, SourceState())


def framed(number: int, *people: TrackedFace, rate: float = 10) -> Update:
    """Return the update of a frame.

    Args:
        number: Number of the frame.
        people: Tracked faces.
        rate: Frames per second, from which its time follows.
    """
    frame = VideoFrame(np.zeros((48, 64, 3), np.uint8), number / rate, 0, number)
    return Update(people, number / rate, frame, 0.01, rate, SourceState(live=True), "a camera")
