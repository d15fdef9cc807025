"""A tracker on networks that are opened once, and frames with one happy person."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest
import skimage.data

from fer_edge import ExpressionTracker, FaceDetector, Recognizer
from tests.networks import require_networks
from tests.video.clips import Frame


@pytest.fixture(scope="session")
def networks() -> Iterator[tuple[FaceDetector, Recognizer]]:
    """Return face detector and recognizer; skip without the face networks, except in CI."""
    require_networks()
    with FaceDetector.open(engine="openvino") as detector, Recognizer.open(engine="openvino", threads=1) as recognizer:
        yield detector, recognizer


@pytest.fixture
def make_tracker(networks: tuple[FaceDetector, Recognizer]) -> Iterator[Callable[[], ExpressionTracker]]:
    """Return a function that opens a tracker on the shared networks."""
    detector, recognizer = networks
    with ExitStack() as stack:
        yield lambda: stack.enter_context(
            ExpressionTracker.open(detector=detector, recognizer=recognizer, background=False)
        )


@pytest.fixture(scope="session")
def happy() -> Frame:
    """Return the photograph of an astronaut, 240 x 240."""
    return np.ascontiguousarray(skimage.data.astronaut()[:240, 80:320])
