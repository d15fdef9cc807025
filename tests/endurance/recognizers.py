"""Recognizers in a long run: threads, opens, closes during calls, invalid boxes, damaged images.

Several threads share a recognizer, and their results are compared with those of a single thread. Then bundles are
opened and closed, and recognizers are closed while another thread is in a call.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fer_edge import Expression, Recognizer
from fer_edge.images import read_image
from tests.endurance.tally import Tally

Frame = npt.NDArray[np.uint8]

TOLERANCE = 0.01  # largest difference of scores: the order of additions depends on the batch size
REFERENCE_FRAMES = 24  # frames whose results are compared
THREADS, OPENS, CLOSES = 4, 20, 5  # of a round
STUCK_SECONDS = 300.0  # a thread that takes this much longer than its phase counts as stuck
BAD_BOXES: tuple[Any, ...] = (
    *((0, 0, 0, 0), (5, 5, -10, 10), (1e9, 1e9, 10, 10), (0.1, 0.2, 0.3, 0.4), (float("nan"), 0, 10, 10)),
    *((float("inf"), 0, 10, 10), (1, 2, 3), "box", (None, 1, 2, 3)),
)


def reference_frames(recognizer: Recognizer) -> list[tuple[Frame, Expression]]:
    """Return frames with the results of a single thread; all results differ clearly from each other."""
    rng = np.random.default_rng(0)
    frames = [pattern(rng) for _ in range(4 * REFERENCE_FRAMES)]
    references: list[tuple[Frame, Expression]] = []
    for frame in frames:
        result = recognizer.recognize(frame)
        if all(differ(result, other, 4 * TOLERANCE) for _, other in references):
            references.append((frame, result))
    return references[:REFERENCE_FRAMES]


def pattern(rng: np.random.Generator) -> Frame:
    """Return a frame of smooth blots of random size and colour."""
    cells = int(rng.integers(2, 12))
    blots = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
    size = int(rng.integers(48, 320))
    return np.asarray(Image.fromarray(blots).resize((size, size), Image.Resampling.BICUBIC))


def differ(result: Expression, other: Expression, tolerance: float = TOLERANCE) -> bool:
    """Return whether any score of two results differs by more than the tolerance."""
    return max(abs(result.scores[label] - other.scores[label]) for label in result.scores) > tolerance


def random_layout(frame: Frame, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Return a frame in a random layout of memory, colour order or type, some of which are refused."""
    layouts: tuple[Callable[[Frame], npt.NDArray[Any]], ...] = (
        lambda frame: frame,
        lambda frame: frame[..., ::-1],
        lambda frame: frame[::-1, ::2],
        np.asfortranarray,
        lambda frame: frame.transpose(1, 0, 2),
        lambda frame: np.broadcast_to(frame[..., :1], frame.shape),
        lambda frame: frame[..., 0],
        lambda frame: frame.astype(np.float32),
        lambda frame: np.dstack([frame, frame[..., :1]]),
    )
    return layouts[int(rng.integers(len(layouts)))](frame)


def damaged_files(folder: Path) -> list[Path]:
    """Write truncated and corrupted images, empty files and text files; return their paths."""
    rng = np.random.default_rng(1)
    paths = []
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF"):
        stream = io.BytesIO()
        Image.fromarray(pattern(rng)).save(stream, kind)
        data = bytearray(stream.getvalue())
        flipped = bytearray(data)
        for place in rng.integers(0, len(data), 8):
            flipped[place] ^= 0xFF
        for name, content in (("cut", data[: len(data) // 2]), ("flipped", flipped), ("empty", b""), ("text", b"hi")):
            path = folder / f"{name}.{kind.lower()}"
            path.write_bytes(content)
            paths.append(path)
    return paths


class Recognizers:
    """Rounds with the recognizers of one engine.

    Args:
        bundle: Bundle.
        engine: Engine of the bundle.
        folder: Folder for damaged images.
        seed: Seed of the calls.
        tally: Counts.
        seconds: Length of the shared phase of a round.
    """

    def __init__(self, bundle: Path, engine: str, folder: Path, seed: int, tally: Tally, seconds: float) -> None:
        self.bundle, self.engine, self.seed, self.tally, self.seconds = bundle, engine, seed, tally, seconds
        self.damaged = damaged_files(folder)
        with self.open() as recognizer:
            self.references = reference_frames(recognizer)
        if len(self.references) < 2:
            raise RuntimeError("fewer than two frames with different results")

    def open(self) -> Recognizer:
        """Open a recognizer."""
        return Recognizer.open(self.bundle, self.engine, threads=1)

    def round(self) -> None:
        """Run the three phases."""
        self.share()
        self.reopen()
        self.close_in_calls()

    def share(self) -> None:
        """Use one recognizer in several threads."""
        until = time.monotonic() + self.seconds
        with self.open() as recognizer:

            def work(seed: int) -> None:
                rng = np.random.default_rng([self.seed, seed, self.tally.rounds])
                while time.monotonic() < until:
                    self.call(recognizer, rng)

            self.run_threads([partial(work, seed) for seed in range(THREADS)])

    def call(self, recognizer: Recognizer, rng: np.random.Generator) -> None:
        """Make one call of a random kind."""
        kind = rng.random()
        if kind < 0.6:
            self.call_and_compare(recognizer, rng, single=kind < 0.4)
        elif kind < 0.8:
            height, width = int(rng.integers(1, 720)), int(rng.integers(1, 1280))
            frame = random_layout(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), rng)
            sides = (width, height, width, height)
            boxes = [tuple(rng.uniform(-50, sides)) for _ in range(int(rng.integers(0, 5)))]
            with self.tally.record_errors("a random frame"):
                recognizer.recognize_faces(frame, boxes)
        elif kind < 0.95:
            with self.tally.record_errors("an invalid box"):
                recognizer.recognize(self.references[0][0], BAD_BOXES[int(rng.integers(len(BAD_BOXES)))])
        else:
            with self.tally.record_errors("a damaged image"):
                recognizer.recognize(read_image(self.damaged[int(rng.integers(len(self.damaged)))]))

    def call_and_compare(self, recognizer: Recognizer, rng: np.random.Generator, *, single: bool) -> None:
        """Recognise a reference frame, once or as several faces, and compare the results."""
        frame, reference = self.references[int(rng.integers(len(self.references)))]
        with self.tally.record_errors("a reference frame"):
            results = (
                [recognizer.recognize(frame)]
                if single
                else recognizer.recognize_faces(frame, [None] * int(rng.integers(1, 4)))
            )
            wrong = sum(differ(result, reference) for result in results)
            if wrong:
                self.tally.fail("a result in several threads differs from that in a single thread")

    def reopen(self) -> None:
        """Open, use and close recognizers."""
        for index in range(OPENS):
            frame, reference = self.references[index % len(self.references)]
            with self.tally.record_errors("a new recognizer"), self.open() as recognizer:
                if differ(recognizer.recognize(frame), reference):
                    self.tally.fail("a result of a new recognizer differs from that of the first")

    def close_in_calls(self) -> None:
        """Close recognizers while another thread uses them."""
        for index in range(CLOSES):
            recognizer, closed = self.open(), threading.Event()
            self.run_threads(
                [
                    partial(self.work_until, closed, recognizer),
                    partial(self.close_after, 0.002 * index, closed, recognizer),
                ]
            )

    def work_until(self, closed: threading.Event, recognizer: Recognizer) -> None:
        """Call a recognizer until it refuses a call."""
        refused = self.tally.refused
        while not closed.is_set() and self.tally.refused == refused:
            with self.tally.record_errors("a recognizer during close"):
                recognizer.recognize_faces(self.references[0][0], [None] * 4)

    def close_after(self, delay: float, closed: threading.Event, recognizer: Recognizer) -> None:
        """Close a recognizer after a delay in seconds."""
        time.sleep(delay)
        with self.tally.record_errors("close during a call"):
            recognizer.close()
        closed.set()

    def run_threads(self, targets: list[Callable[[], None]]) -> None:
        """Run functions in parallel; a function that does not end is a failure."""
        threads = [threading.Thread(target=target, daemon=True) for target in targets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(self.seconds + STUCK_SECONDS)
            if thread.is_alive():
                self.tally.fail("a thread did not end")
                raise RuntimeError("a thread is stuck")
