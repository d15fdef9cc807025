"""Stress test of recognizers: fails on wrong results, unexpected errors, or growing memory, files or threads.

    python scripts/soak.py --minutes 30 --json soak.json

Three phases alternate for each engine until the time is up. In the first, several threads share a recognizer, and their
results are compared with those of a single thread. In the second, bundles are opened and closed. In the third,
recognizers are closed while another thread is in a call. Some calls use invalid boxes or damaged images, which must be
refused with fer-edge's own errors. Memory, open files and threads of the process are compared with those after the
first round.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fer_edge import Bundle, Expression, Recognizer
from fer_edge.engines.registry import engine_status
from fer_edge.environment import environment, memory_mb
from fer_edge.errors import FerEdgeError
from fer_edge.images import read_image
from fer_edge.recognizer import shipped_bundle

Frame = npt.NDArray[np.uint8]

TOLERANCE = 0.01  # largest difference of scores: the order of additions depends on the batch size
REFERENCE_FRAMES = 24  # frames whose results are compared
STUCK_SECONDS = 60.0  # a thread that takes this much longer than its phase counts as stuck
SHOWN = 20  # failures that are reported with their text; all are counted
BAD_BOXES: tuple[Any, ...] = (
    *((0, 0, 0, 0), (5, 5, -10, 10), (1e9, 1e9, 10, 10), (0.1, 0.2, 0.3, 0.4), (float("nan"), 0, 10, 10)),
    *((float("inf"), 0, 10, 10), (1, 2, 3), "box", (None, 1, 2, 3)),
)
Sample = dict[str, Any]


@dataclass
class Tally:
    """Counts, samples and failures of one engine."""

    engine: str
    calls: int = 0
    compared: int = 0  # results compared with those of a single thread
    wrong: int = 0  # number of compared results that differ
    refused: int = 0  # calls that ended with an error of fer-edge
    opens: int = 0
    closes: int = 0  # during a call
    rounds: int = 0
    samples: list[Sample] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def add(self, **counts: int) -> None:
        """Add to counts; safe in several threads."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)

    def fail(self, reason: str) -> None:
        """Record a failure."""
        with self._lock:
            self.failures[reason[:300]] += 1

    @contextmanager
    def record_errors(self, subject: str) -> Iterator[None]:
        """Count a call and its exception: errors of fer-edge are refusals, all others are failures."""
        self.add(calls=1)
        try:
            yield
        except FerEdgeError:
            self.add(refused=1)
        except Exception as error:
            self.fail(f"{subject} raised {type(error).__name__}: {error}")


def reference_frames(folder: Path | None, recognizer: Recognizer) -> list[tuple[Frame, Expression]]:
    """Return frames with the results of a single thread; all results differ clearly from each other.

    Args:
        folder: Folder of face images; None for synthetic patterns.
        recognizer: Recognizer that computes the results.
    """
    rng = np.random.default_rng(0)
    if folder is None:
        frames = [pattern(rng) for _ in range(4 * REFERENCE_FRAMES)]
    else:
        frames = [read_image(path) for path in sorted(folder.iterdir()) if path.is_file()]
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


class Soak:
    """The three phases for one engine."""

    def __init__(self, bundle: Path, tally: Tally, settings: argparse.Namespace, damaged: list[Path]) -> None:
        self.bundle, self.tally, self.settings, self.damaged = bundle, tally, settings, damaged
        with self.open() as recognizer:
            self.references = reference_frames(settings.images, recognizer)
        if len(self.references) < 2:
            raise SystemExit("error: fewer than two frames with different results; expected more images")

    def open(self) -> Recognizer:
        """Open a recognizer and count it."""
        self.tally.add(opens=1)
        return Recognizer.open(self.bundle, self.tally.engine, threads=1)

    def share(self, deadline: float) -> None:
        """Use one recognizer in several threads."""
        until = min(deadline, time.monotonic() + self.settings.seconds)
        with self.open() as recognizer:

            def work(seed: int) -> None:
                rng = np.random.default_rng([seed, self.tally.rounds])
                while time.monotonic() < until:
                    self.call(recognizer, rng)

            self.run_threads([partial(work, seed) for seed in range(self.settings.threads)])

    def call(self, recognizer: Recognizer, rng: np.random.Generator) -> None:
        """Make one call of a random kind."""
        kind = rng.random()
        if kind < 0.6:
            self.call_and_compare(recognizer, rng, single=kind < 0.4)
        elif kind < 0.8:
            height, width = int(rng.integers(1, 720)), int(rng.integers(1, 1280))
            frame = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
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
            self.tally.add(compared=len(results), wrong=wrong)
            if wrong:
                self.tally.fail("a result in several threads differs from that in a single thread")

    def reopen(self, deadline: float) -> None:
        """Open, use and close recognizers."""
        for index in range(self.settings.opens):
            if time.monotonic() > deadline:
                return
            frame, reference = self.references[index % len(self.references)]
            with self.tally.record_errors("a new recognizer"), self.open() as recognizer:
                self.tally.add(compared=1)
                if differ(recognizer.recognize(frame), reference):
                    self.tally.add(wrong=1)
                    self.tally.fail("a result of a new recognizer differs from that of the first")

    def close_in_calls(self, deadline: float) -> None:
        """Close recognizers while another thread uses them."""
        for index in range(self.settings.closes):
            if time.monotonic() > deadline:
                return
            recognizer, closed = self.open(), threading.Event()
            self.run_threads(
                [partial(self.work_until, closed, recognizer), partial(self.close, 0.002 * index, closed, recognizer)]
            )

    def work_until(self, closed: threading.Event, recognizer: Recognizer) -> None:
        """Call a recognizer until it refuses a call."""
        refused = self.tally.refused
        while not closed.is_set() and self.tally.refused == refused:
            with self.tally.record_errors("a recognizer during close"):
                recognizer.recognize_faces(self.references[0][0], [None] * 4)

    def close(self, delay: float, closed: threading.Event, recognizer: Recognizer) -> None:
        """Close a recognizer after a delay in seconds."""
        time.sleep(delay)
        with self.tally.record_errors("close during a call"):
            recognizer.close()
        closed.set()
        self.tally.add(closes=1)

    def run_threads(self, targets: list[Callable[[], None]]) -> None:
        """Run functions in parallel; a function that does not end is a failure."""
        threads = [threading.Thread(target=target, daemon=True) for target in targets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(self.settings.seconds + STUCK_SECONDS)
            if thread.is_alive():
                self.tally.fail("a thread did not end")
                raise SystemExit("error: a thread is stuck; see the failures above")


class Sampler(threading.Thread):
    """Thread that samples memory, open files and threads of the process at a fixed interval."""

    def __init__(self, seconds: float) -> None:
        super().__init__(daemon=True)
        self.seconds, self.started, self.ended = seconds, time.monotonic(), threading.Event()
        self.tally: Tally | None = None

    def run(self) -> None:
        while not self.ended.wait(self.seconds):
            if self.tally is not None:
                self.sample("")

    def sample(self, at: str) -> Sample:
        """Record and print a sample.

        Args:
            at: Name of the point of a round, for samples that are compared with each other; otherwise empty.
        """
        tally = self.tally
        assert tally is not None
        sample: Sample = {
            "s": round(time.monotonic() - self.started, 1),
            "at": at,
            "rss_mb": round(memory_mb() or 0.0, 1),
            "files": _entries("fd"),
            "threads": _entries("task"),
            "calls": tally.calls,
            "wrong": tally.wrong,
            "opens": tally.opens,
        }
        tally.samples.append(sample)
        print(f"{tally.engine}: " + ", ".join(f"{name} {value}" for name, value in sample.items() if value != ""))
        sys.stdout.flush()
        return sample


def _entries(kind: str) -> int:
    """Return the number of open files or threads of the process; 0 on systems without `/proc`."""
    folder = Path("/proc/self") / kind
    return len(os.listdir(folder)) if folder.is_dir() else 0  # noqa: PTH208  unlike iterdir, keeps no handle open


def check_growth(tally: Tally, settings: argparse.Namespace) -> None:
    """Compare the lowest value of the later half of the rounds with the first round: a leak never shrinks again."""
    rounds = [sample for sample in tally.samples if sample["at"] == "round"]
    later = rounds[max(1, len(rounds) // 2) :]
    for name, limit in (("rss_mb", settings.growth), ("files", settings.handles), ("threads", settings.handles)):
        growth = min((sample[name] for sample in later), default=rounds[0][name]) - rounds[0][name]
        if growth > limit:
            tally.fail(f"{name} grew by {growth:g} since the first of {len(rounds)} rounds; the limit is {limit:g}")


def soak_engine(bundle: Path, engine: str, settings: argparse.Namespace, sampler: Sampler, seconds: float) -> Tally:
    """Run rounds of the three phases for one engine until the time is up."""
    tally = Tally(engine)
    sampler.tally = tally
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as name:
        soak = Soak(bundle, tally, settings, damaged_files(Path(name)))
        while not tally.rounds or time.monotonic() < deadline:
            for phase in (soak.share, soak.reopen, soak.close_in_calls):
                phase(deadline if tally.rounds else float("inf"))  # the first round is always complete
            gc.collect()
            tally.add(rounds=1)
            sampler.sample("round")
    check_growth(tally, settings)
    return tally


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--minutes", type=float, default=30.0, help="duration for all engines together, default 30")
    add("--engine", default="all", help="engine to test, default all of the bundle that run on this machine")
    add("--bundle", type=Path, default=None, help="bundle to test, default the shipped one")
    add("--images", type=Path, default=None, help="folder of face crops, default synthetic patterns")
    add("--threads", type=int, default=4, help="number of threads that share one recognizer, default 4")
    add("--opens", type=int, default=300, help="number of recognizers opened and closed per round, default 300")
    add("--closes", type=int, default=20, help="number of recognizers closed during a call per round, default 20")
    add("--seconds", type=float, default=60.0, help="duration of the shared phase of each round, default 60")
    add("--sample", type=float, default=30.0, help="seconds between samples, default 30")
    add("--growth", type=float, default=48.0, help="allowed growth of memory in MB, default 48")
    add("--handles", type=int, default=4, help="allowed growth of open files, and of threads, default 4")
    add("--json", type=Path, default=None, metavar="FILE", help="report to write, with all samples")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the stress test; return 1 after a failure."""
    settings = parse_arguments(arguments)
    bundle = settings.bundle or shipped_bundle()
    present = [entry.engine for entry in Bundle.open(bundle).manifest.engines]
    runnable = [name for name in present if engine_status(name).can_run]
    engines = runnable if settings.engine == "all" else [settings.engine]
    sampler = Sampler(settings.sample)
    sampler.start()
    seconds = settings.minutes * 60 / len(engines)
    tallies = [soak_engine(bundle, engine, settings, sampler, seconds) for engine in engines]
    sampler.ended.set()
    for tally in tallies:
        counts = ("calls", "compared", "wrong", "refused", "opens", "closes", "rounds")
        print(f"{tally.engine}: " + ", ".join(f"{name} {getattr(tally, name)}" for name in counts))
        for reason, count in tally.failures.most_common(SHOWN):
            print(f"{tally.engine} FAILED: {reason} ({count} times)")
    if settings.json is not None:
        values = {name: str(value) if isinstance(value, Path) else value for name, value in vars(settings).items()}
        reports = [{**asdict(tally), "failures": dict(tally.failures.most_common(SHOWN))} for tally in tallies]
        report = {"settings": values, "environment": environment(), "engines": reports}
        settings.json.write_text(json.dumps(report, indent=1) + "\n")
    return int(any(tally.failures for tally in tallies))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FerEdgeError as error:
        sys.exit(f"error: {error}")
