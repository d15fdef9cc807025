"""The frame that a benchmark runs on, and the timing of one query."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from fer_edge._files import as_path
from fer_edge.boxes import XYWH, Box, parse_box
from fer_edge.errors import ConfigError
from fer_edge.images import read_image
from fer_edge.recognizer import Recognizer

STAGES = ("preprocess", "inference", "postprocess")
FRAME_WIDTH, FRAME_HEIGHT = 640, 480
FACE: XYWH = (240.0, 160.0, 160.0, 160.0)

Clock = Callable[[], int]  # returns nanoseconds
Query = Callable[[], tuple[int, ...]]  # runs one query; returns its start and the end of each stage, in nanoseconds
clock: Clock = time.perf_counter_ns


@dataclass(frozen=True)
class Workload:
    """A frame with one face."""

    frame: npt.NDArray[np.uint8]  # RGB (H, W, 3)
    box: XYWH | None  # face box; None: the whole frame
    source: str = ""  # origin of the frame, for reports


def synthetic_workload(seed: int = 0) -> Workload:
    """Return a smooth random frame of 640 x 480 with a face box of 160 x 160.

    Latency does not depend on the content, except for denormals and zeros, which would change it.
    """
    noise = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    frame = Image.fromarray(noise).resize((FRAME_WIDTH, FRAME_HEIGHT), Image.Resampling.BICUBIC)
    return Workload(np.asarray(frame), FACE, "synthetic")


def workload_from_image(image: str | os.PathLike[str] | None, box: Box | None) -> Workload:
    """Return the workload of an image file, or the synthetic one.

    Args:
        image: Image file of the frame; None: the synthetic frame.
        box: Face box x, y, width, height in pixels; None: the whole image.

    Raises:
        ConfigError: A box without an image.
        ImageError: Unreadable image.
        InputError: Malformed box.
    """
    if image is None:
        if box is not None:
            raise ConfigError("a box needs an image; name an image, or omit the box")
        return synthetic_workload()
    path = as_path(image, "the image")
    return Workload(read_image(path), None if box is None else parse_box(box), str(path))


def recognition(recognizer: Recognizer, workload: Workload) -> Query:
    """Return a query that recognises one face of a frame: preprocessing, inference, postprocessing."""
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
    """Collect garbage once, then disable collection for the block."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
