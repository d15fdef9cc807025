"""What a benchmark recognises, and how one query is timed."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from fer_edge.crop import Box
from fer_edge.recognizer import Recognizer

STAGES = ("preprocess", "inference", "postprocess")
FRAME_WIDTH, FRAME_HEIGHT = 640, 480
FACE: Box = (240.0, 160.0, 160.0, 160.0)

Clock = Callable[[], int]  # nanoseconds
Query = Callable[[], tuple[int, ...]]  # runs one and returns when it began, when each of its stages ended
clock: Clock = time.perf_counter_ns


@dataclass(frozen=True)
class Workload:
    """A frame with one face."""

    frame: npt.NDArray[np.uint8]  # RGB (H, W, 3)
    box: Box | None  # None: the frame is a face crop
    source: str = ""  # where the frame is from, for the record


def synthetic_workload(seed: int = 0) -> Workload:
    """A smooth random frame of 640 x 480 with a face box of 160 x 160.

    Latency does not depend on content, but denormals and zeros would flatter it.
    """
    noise = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    frame = Image.fromarray(noise).resize((FRAME_WIDTH, FRAME_HEIGHT), Image.Resampling.BICUBIC)
    return Workload(np.asarray(frame), FACE, "synthetic")


def recognition(recognizer: Recognizer, workload: Workload) -> Query:
    """A query: one face of a frame, from pixels to the expression."""
    boxes = [workload.box]

    def query() -> tuple[int, ...]:
        started = clock()
        images = recognizer.preprocess(workload.frame, boxes)
        prepared = clock()
        prediction = recognizer.runner.infer(images)
        inferred = clock()
        recognizer.postprocess(prediction)
        return started, prepared, inferred, clock()

    return query


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect now, and not while the block runs."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
