"""Worker processes that time queries in alternating turns, and the comparison of their times.

Separate processes keep threads, settings and memory of the engines apart. In every round each worker has one turn, so
all are equally exposed to other load on the machine. A worker can be any program with this protocol of JSON lines:

    output {"ready": {...}}                           facts for the record, such as versions and sizes
    input  {"time": 10}, output {"nanoseconds": [...]}  durations of ten consecutive queries
    end of input                                      the worker exits

`python -m fer_edge.benchmark.worker FILE` is the worker of a bundle; FILE is written by `write_settings`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fer_edge._text import one_line
from fer_edge.benchmark.statistics import (
    Distribution,
    Estimate,
    distribution_from_samples,
    percentile,
    ratio_of_percentiles,
)
from fer_edge.benchmark.workload import Workload, no_garbage_collection, recognition
from fer_edge.engines.base import RunOptions
from fer_edge.errors import EngineError, FerEdgeError
from fer_edge.recognizer import Recognizer

WARM_UP = 5  # queries at the start of a turn that are not timed: caches and clocks are those of the previous worker
MIN_ROUNDS = 6  # a comparison of fewer rounds has no interval
PAUSE = 0.02  # seconds before a turn: idle threads of the previous worker spin for a while
EXIT_TIMEOUT = 10  # seconds for a worker to exit
Times = npt.NDArray[np.int64]  # (rounds, queries per turn) nanoseconds


@dataclass(frozen=True)
class Comparison:
    """One contender and its ratios to the first one; below 1 is faster."""

    name: str
    latency: Distribution
    p50_ratio: Estimate  # median over rounds of the ratio of the turns' medians
    p90_ratio: Estimate


class Worker:
    """A worker process.

    Args:
        name: Name of the contender.
        command: Program and arguments.
        environment: Environment variables; default: those of this process.

    >>> with Worker("edge", ["python", "-m", "fer_edge.benchmark.worker", "settings.json"]) as worker:
    ...     worker.time(10)
    """

    ready: Mapping[str, Any]  # facts that the worker reported when it was ready

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._command = command
        self._environment = environment

    def __enter__(self) -> Worker:
        # A file, because the worker would block on a full pipe that is not read.
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=None if self._environment is None else dict(self._environment),
        )
        try:
            self.ready = self._read()["ready"]
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(timeout=EXIT_TIMEOUT)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def request(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Send a message and return the answer.

        Raises:
            EngineError: Worker that has exited, or a malformed answer; the message has its standard error.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # _read raises an error with the cause
        return self._read()

    def time(self, queries: int) -> list[int]:
        """Run consecutive queries and return their durations in nanoseconds."""
        durations: list[int] = self.request({"time": queries})["nanoseconds"]
        if len(durations) != queries:
            raise EngineError(f"{self.name} returned {len(durations)} durations; expected {queries}")
        return durations

    def _read(self) -> dict[str, Any]:
        """Read one line of output."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        try:
            answer = json.loads(line)
            if not isinstance(answer, dict):
                raise ValueError(line)
        except ValueError:
            self._errors.seek(0)
            errors = one_line(self._errors.read().strip()[-800:], 800)
            raise EngineError(f"{self.name} failed: {errors or f'unexpected output {line[:200]!r}'}") from None
        return answer


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create a folder for the files of workers; it is removed at the end of the block.

    Raises:
        FerEdgeError: No folder can be created.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="fer-edge-bench-")
    except OSError as error:
        raise FerEdgeError(
            f"cannot create a temporary folder: {error.strerror or error}; set TMPDIR to a writable folder"
        ) from error
    with folder as name:
        yield Path(name)


def write_settings(file: Path, bundle: Path, engine: str | None, options: RunOptions, workload: Workload) -> Path:
    """Write what a process needs to recognise a face: the frame, and JSON with the arguments of `Recognizer.open`.

    Args:
        file: JSON file to write; the frame is written beside it.
        bundle: Bundle.
        engine: Engine of the bundle; None: the first that runs on this machine.
        options: Threads, device, and permission to run native code of a version-compatible TensorRT engine.
        workload: Frame and face box.

    Returns:
        The JSON file.
    """
    frame = file.with_suffix(".npy")
    np.save(frame, workload.frame)
    arguments: dict[str, Any] = {name: getattr(options, name) for name in ("threads", "device", "allow_host_code")}
    arguments |= {"path": str(bundle), "engine": engine}
    file.write_text(json.dumps({"recognizer": arguments, "frame": str(frame), "box": workload.box}))
    return file


class Timed(Protocol):
    """Something that takes turns: a `Worker`, or any object that times its own queries."""

    @property
    def name(self) -> str:
        """Unique name."""

    def time(self, queries: int) -> list[int]:
        """Run consecutive queries and return their durations in nanoseconds."""


def alternate(
    workers: Sequence[Timed],
    rounds: int,
    queries_per_turn: int,
    *,
    seed: int = 0,
    progress: Callable[[], object] = lambda: None,
    keep_rounds: bool = False,
) -> dict[str, Times]:
    """Give every worker one turn in each round, in a random order.

    Args:
        workers: Workers to time.
        rounds: Number of rounds.
        queries_per_turn: Number of timed queries of a turn.
        seed: Seed of the orders.
        progress: Callback after each round.
        keep_rounds: True: Ctrl-C returns the finished rounds if there are at least `MIN_ROUNDS`. False by default:
            Ctrl-C raises.

    Returns:
        Times by name.
    """
    generator = np.random.default_rng(seed)
    times = {worker.name: np.zeros((rounds, queries_per_turn), np.int64) for worker in workers}
    for worker in workers:
        worker.time(WARM_UP + queries_per_turn)
    finished = 0
    try:
        for index in range(rounds):
            for chosen in generator.permutation(len(workers)):
                worker = workers[chosen]
                time.sleep(PAUSE)
                times[worker.name][index] = worker.time(WARM_UP + queries_per_turn)[WARM_UP:]
            finished = index + 1
            progress()
    except KeyboardInterrupt:
        if not keep_rounds or finished < MIN_ROUNDS:
            raise
    return {name: durations[:finished] for name, durations in times.items()}


def compare_commands(
    commands: Mapping[str, Sequence[str]],
    rounds: int,
    queries_per_turn: int,
    *,
    progress: Callable[[], object] = lambda: None,
) -> dict[str, Times]:
    """Start a worker for each command, alternate them and stop them; Ctrl-C keeps the finished rounds.

    Args:
        commands: Command of each worker by name.
        rounds: Number of rounds.
        queries_per_turn: Number of timed queries of a turn.
        progress: Callback after each round.

    Raises:
        EngineError: Worker that failed.
    """
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(name, command)) for name, command in commands.items()]
        return alternate(workers, rounds, queries_per_turn, progress=progress, keep_rounds=True)


def comparisons_from_times(times: Mapping[str, Times]) -> list[Comparison]:
    """Compare every contender with the first one, which is included."""
    baseline = next(iter(times.values()))
    comparisons = []
    for name, own in times.items():
        medians = np.median(own, axis=1) / np.median(baseline, axis=1)
        latency = distribution_from_samples(own.ravel())
        comparisons.append(
            Comparison(name, latency, percentile(medians, 0.5), ratio_of_percentiles(own, baseline, 0.9))
        )
    return comparisons


def main() -> None:
    """Open the bundle of a settings file, and time queries for every line of standard input."""
    settings = json.loads(Path(sys.argv[1]).read_text())
    try:
        with Recognizer.open(**settings["recognizer"]) as recognizer:
            query = recognition(recognizer, Workload(np.load(settings["frame"]), settings["box"]))
            print(json.dumps({"ready": {}}), flush=True)
            for line in sys.stdin:
                with no_garbage_collection():
                    stamps = [query() for _ in range(json.loads(line)["time"])]
                print(json.dumps({"nanoseconds": [stamp[-1] - stamp[0] for stamp in stamps]}), flush=True)
    except FerEdgeError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
