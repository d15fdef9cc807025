"""Use recognizers hard for a while, and fail on wrong answers, unexpected errors, or a process that grows.

    python scripts/soak.py --minutes 30 --json soak.json

For each engine three phases take turns until the time is over: one recognizer is shared by several threads, whose
answers are compared with those of a single thread; bundles are opened and closed; recognizers are closed while another
thread is in a call. Among the calls are boxes that cannot be right and damaged images, which must be refused with
fer-edge's own errors. Memory, files and threads of the process are compared with those after the first round.
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
from fer_edge.benchmark.environment import environment, memory_mb
from fer_edge.engines.registry import engine_status
from fer_edge.errors import FerEdgeError
from fer_edge.images import read_image
from fer_edge.recognizer import shipped_bundle

Frame = npt.NDArray[np.uint8]

TOLERANCE = 0.01  # of a score; engines add up in another order for other batch sizes
KNOWN = 24  # frames whose answers are compared
STUCK = 60.0  # seconds after which a thread that was told to end counts as stuck
SHOWN = 20  # failures that are kept in words; all are counted
BAD_BOXES: tuple[Any, ...] = (
    *((0, 0, 0, 0), (5, 5, -10, 10), (1e9, 1e9, 10, 10), (0.1, 0.2, 0.3, 0.4), (float("nan"), 0, 10, 10)),
    *((float("inf"), 0, 10, 10), (1, 2, 3), "box", (None, 1, 2, 3)),
)
Sample = dict[str, Any]


@dataclass
class Tally:
    """What one engine did."""

    engine: str
    calls: int = 0
    compared: int = 0  # answers held against those of a single thread
    wrong: int = 0  # of these
    refused: int = 0  # calls that ended with one of fer-edge's errors
    opens: int = 0
    closes: int = 0  # in the middle of a call
    rounds: int = 0
    samples: list[Sample] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def add(self, **counts: int) -> None:
        """Count something; threads may do so at once."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)

    def fail(self, reason: str) -> None:
        """Note a failure."""
        with self._lock:
            self.failures[reason[:300]] += 1

    @contextmanager
    def guarded(self, doing: str) -> Iterator[None]:
        """Count a call, and what it raises: errors of fer-edge as refusals, others as failures."""
        self.add(calls=1)
        try:
            yield
        except FerEdgeError:
            self.add(refused=1)
        except Exception as error:
            self.fail(f"{doing} raised {type(error).__name__}: {error}")


def known_frames(folder: Path | None, recognizer: Recognizer) -> list[tuple[Frame, Expression]]:
    """Frames with a single thread's answers, no two of which could be taken for each other.

    Args:
        folder: Images of faces; None for patterns.
        recognizer: What answers.
    """
    rng = np.random.default_rng(0)
    if folder is None:
        frames = [pattern(rng) for _ in range(4 * KNOWN)]
    else:
        frames = [read_image(path) for path in sorted(folder.iterdir()) if path.is_file()]
    kept: list[tuple[Frame, Expression]] = []
    for frame in frames:
        answer = recognizer.recognize(frame)
        if all(differ(answer, other, 4 * TOLERANCE) for _, other in kept):
            kept.append((frame, answer))
    return kept[:KNOWN]


def pattern(rng: np.random.Generator) -> Frame:
    """A frame of blots of random size and contrast."""
    cells = int(rng.integers(2, 12))
    blots = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
    size = int(rng.integers(48, 320))
    return np.asarray(Image.fromarray(blots).resize((size, size), Image.Resampling.BICUBIC))


def differ(answer: Expression, other: Expression, tolerance: float = TOLERANCE) -> bool:
    """Whether two answers have scores further apart than the tolerance."""
    return max(abs(answer.scores[label] - other.scores[label]) for label in answer.scores) > tolerance


def damaged_files(folder: Path) -> list[Path]:
    """Images that were cut off or overwritten in places, and things that are no images."""
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

    def __init__(self, bundle: Path, tally: Tally, given: argparse.Namespace, damaged: list[Path]) -> None:
        self.bundle, self.tally, self.given, self.damaged = bundle, tally, given, damaged
        with self.open() as alone:
            self.known = known_frames(given.images, alone)
        if len(self.known) < 2:
            raise SystemExit("error: fewer than two frames with answers that differ; expected more images")

    def open(self) -> Recognizer:
        """A recognizer, which counts."""
        self.tally.add(opens=1)
        return Recognizer.open(self.bundle, self.tally.engine, threads=1)

    def share(self, deadline: float) -> None:
        """One recognizer in several threads at once."""
        until = min(deadline, time.monotonic() + self.given.seconds)
        with self.open() as recognizer:

            def work(seed: int) -> None:
                rng = np.random.default_rng([seed, self.tally.rounds])
                while time.monotonic() < until:
                    self.call(recognizer, rng)

            self.run_threads([partial(work, seed) for seed in range(self.given.threads)])

    def call(self, recognizer: Recognizer, rng: np.random.Generator) -> None:
        """One call of any kind."""
        kind = rng.random()
        if kind < 0.6:
            frame, expected = self.known[int(rng.integers(len(self.known)))]
            with self.tally.guarded("a known frame"):
                answers = (
                    [recognizer.recognize(frame)]
                    if kind < 0.4
                    else recognizer.recognize_faces(frame, [None] * int(rng.integers(1, 4)))
                )
                wrong = sum(differ(answer, expected) for answer in answers)
                self.tally.add(compared=len(answers), wrong=wrong)
                if wrong:
                    self.tally.fail("a known frame got another answer than from a single thread")
        elif kind < 0.8:
            height, width = int(rng.integers(1, 720)), int(rng.integers(1, 1280))
            frame = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            sides = (width, height, width, height)
            boxes = [tuple(rng.uniform(-50, sides)) for _ in range(int(rng.integers(0, 5)))]
            with self.tally.guarded("a random frame"):
                recognizer.recognize_faces(frame, boxes)
        elif kind < 0.95:
            with self.tally.guarded("a box that cannot be right"):
                recognizer.recognize(self.known[0][0], BAD_BOXES[int(rng.integers(len(BAD_BOXES)))])
        else:
            with self.tally.guarded("a damaged image"):
                recognizer.recognize(read_image(self.damaged[int(rng.integers(len(self.damaged)))]))

    def reopen(self, deadline: float) -> None:
        """Open, use and close, many times."""
        for index in range(self.given.opens):
            if time.monotonic() > deadline:
                return
            frame, expected = self.known[index % len(self.known)]
            with self.tally.guarded("a recognizer that was just opened"), self.open() as recognizer:
                self.tally.add(compared=1)
                if differ(recognizer.recognize(frame), expected):
                    self.tally.add(wrong=1)
                    self.tally.fail("a recognizer that was just opened gave another answer")

    def close_in_calls(self, deadline: float) -> None:
        """Close recognizers while another thread uses them."""
        for index in range(self.given.closes):
            if time.monotonic() > deadline:
                return
            recognizer, closed = self.open(), threading.Event()
            self.run_threads(
                [partial(self.work_until, closed, recognizer), partial(self.close, 0.002 * index, closed, recognizer)]
            )

    def work_until(self, closed: threading.Event, recognizer: Recognizer) -> None:
        """Call a recognizer until it refuses."""
        refused = self.tally.refused
        while not closed.is_set() and self.tally.refused == refused:
            with self.tally.guarded("a recognizer that is being closed"):
                recognizer.recognize_faces(self.known[0][0], [None] * 4)

    def close(self, delay: float, closed: threading.Event, recognizer: Recognizer) -> None:
        """Close a recognizer after some seconds."""
        time.sleep(delay)
        with self.tally.guarded("close in the middle of a call"):
            recognizer.close()
        closed.set()
        self.tally.add(closes=1)

    def run_threads(self, targets: list[Callable[[], None]]) -> None:
        """Run functions at once; one that does not end is a failure."""
        threads = [threading.Thread(target=target, daemon=True) for target in targets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(self.given.seconds + STUCK)
            if thread.is_alive():
                self.tally.fail("a thread did not end")
                raise SystemExit("error: a thread is stuck; see the failures above")


class Sampler(threading.Thread):
    """Tells what the process holds, every 30 s."""

    def __init__(self, seconds: float) -> None:
        super().__init__(daemon=True)
        self.seconds, self.started, self.ended = seconds, time.monotonic(), threading.Event()
        self.tally: Tally | None = None

    def run(self) -> None:
        while not self.ended.wait(self.seconds):
            if self.tally is not None:
                self.sample("")

    def sample(self, at: str) -> Sample:
        """Note and print what the process holds; `at` names the point where it is compared with others."""
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
    """How many open files or threads the process has; 0 where the system does not tell."""
    folder = Path("/proc/self") / kind
    return len(os.listdir(folder)) if folder.is_dir() else 0  # noqa: PTH208  one list, no handles of its own


def check_growth(tally: Tally, given: argparse.Namespace) -> None:
    """Compare the later half of the rounds with the first round; what leaks never comes down again."""
    rounds = [sample for sample in tally.samples if sample["at"] == "round"]
    later = rounds[max(1, len(rounds) // 2) :]
    for name, most in (("rss_mb", given.growth), ("files", given.handles), ("threads", given.handles)):
        grown = min((sample[name] for sample in later), default=rounds[0][name]) - rounds[0][name]
        if grown > most:
            tally.fail(f"{name} grew by {grown:g} since the first of {len(rounds)} rounds; at most {most:g} is allowed")


def soak_engine(bundle: Path, engine: str, given: argparse.Namespace, sampler: Sampler, seconds: float) -> Tally:
    """Run the phases for one engine, whole rounds of them while there is time."""
    tally = Tally(engine)
    sampler.tally = tally
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as name:
        soak = Soak(bundle, tally, given, damaged_files(Path(name)))
        while not tally.rounds or time.monotonic() < deadline:
            for phase in (soak.share, soak.reopen, soak.close_in_calls):
                phase(deadline if tally.rounds else float("inf"))  # the first round is whole, however long it takes
            gc.collect()
            tally.add(rounds=1)
            sampler.sample("round")
    check_growth(tally, given)
    return tally


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="for all engines together, default 30")
    parser.add_argument("--engine", default="all", help="one engine, default all that the bundle has and run here")
    parser.add_argument("--model", type=Path, default=None, help="bundle, default the shipped one")
    parser.add_argument("--images", type=Path, default=None, help="folder of face crops, default made-up patterns")
    parser.add_argument("--threads", type=int, default=4, help="threads that share one recognizer, default 4")
    parser.add_argument("--opens", type=int, default=300, help="bundles opened and closed in each round, default 300")
    parser.add_argument("--closes", type=int, default=20, help="closed in the middle of a call, each round, default 20")
    parser.add_argument("--seconds", type=float, default=60.0, help="of sharing in each round, default 60")
    parser.add_argument("--sample", type=float, default=30.0, help="seconds between samples, default 30")
    parser.add_argument("--growth", type=float, default=48.0, help="MB of memory, first to last round, default 48")
    parser.add_argument("--handles", type=int, default=4, help="files, and threads, first to last round, default 4")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="file for all figures")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run; returns 1 after a failure."""
    given = parsed(arguments)
    bundle = given.model or shipped_bundle()
    present = [entry.engine for entry in Bundle.open(bundle).manifest.engines]
    engines = [name for name in present if engine_status(name).can_run] if given.engine == "all" else [given.engine]
    sampler = Sampler(given.sample)
    sampler.start()
    tallies = [soak_engine(bundle, engine, given, sampler, given.minutes * 60 / len(engines)) for engine in engines]
    sampler.ended.set()
    for tally in tallies:
        counts = ("calls", "compared", "wrong", "refused", "opens", "closes", "rounds")
        print(f"{tally.engine}: " + ", ".join(f"{name} {getattr(tally, name)}" for name in counts))
        for reason, count in tally.failures.most_common(SHOWN):
            print(f"{tally.engine} FAILED: {reason} ({count} times)")
    if given.json is not None:
        settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(given).items()}
        engines_told = [{**asdict(tally), "failures": dict(tally.failures.most_common(SHOWN))} for tally in tallies]
        report = {"settings": settings, "environment": environment(), "engines": engines_told}
        given.json.write_text(json.dumps(report, indent=1) + "\n")
    return int(any(tally.failures for tally in tallies))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FerEdgeError as error:
        sys.exit(f"error: {error}")
