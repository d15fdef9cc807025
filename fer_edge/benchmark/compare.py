"""Comparison of bundles or engines: each runs in a worker process of its own, and the workers alternate in turns.

Separate processes keep threads, settings and memory of the engines apart. In every round each worker has one turn, so
all are equally exposed to other load on the machine. A worker can be any program with this protocol of JSON lines:

    output {"ready": {...}}                           facts for the record, such as versions and sizes
    input  {"time": 10}, output {"nanoseconds": [...]}  durations of ten consecutive queries
    end of input                                      the worker exits
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, get_args

import numpy as np
import numpy.typing as npt

from fer_edge._files import as_path, check_output, write_atomically
from fer_edge._text import did_you_mean, one_line
from fer_edge.benchmark.formatting import PERCENTILE_COLUMNS, interval, percentile_cells
from fer_edge.benchmark.noise import Noise, NoiseMonitor
from fer_edge.benchmark.statistics import (
    Distribution,
    Estimate,
    distribution_from_samples,
    percentile,
    ratio_of_percentiles,
)
from fer_edge.benchmark.temporary import temporary_folder
from fer_edge.choices import EngineName
from fer_edge.errors import ConfigError, EngineError
from fer_edge.progress import Progress, silent
from fer_edge.results import Result, Table
from fer_edge.shipped import path_or_shipped

if TYPE_CHECKING:
    from fer_edge.boxes import Box

LOGGER = logging.getLogger("fer_edge")
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


@dataclass(frozen=True)
class ComparisonReport(Result):
    """Result of a comparison."""

    contenders: list[Comparison]  # the first is the baseline of all ratios
    rounds: int  # number of finished rounds; fewer than planned after Ctrl-C
    queries_per_turn: int
    noise: Noise  # other load during the comparison
    environment: dict[str, str | int]

    def tables(self) -> list[Table]:
        """Return latencies, and ratios to the first contender."""
        latencies = tuple((contender.name, *percentile_cells(contender.latency)) for contender in self.contenders)
        ratios = tuple(
            (
                contender.name,
                *(text for ratio in (contender.p50_ratio, contender.p90_ratio) for text in _ratio_cells(ratio)),
            )
            for contender in self.contenders[1:]
        )
        title = f"{self.rounds} rounds of {self.queries_per_turn} queries per turn"
        return [
            Table(title, ("contender", *PERCENTILE_COLUMNS), latencies),
            Table(
                f"ratio to {self.contenders[0].name}; below 1 is faster",
                ("contender", "p50", "95 %", "p90", "95 %"),
                ratios,
            ),
        ]

    def notes(self) -> list[str]:
        """Return a warning if the machine was busy."""
        return ["disturbed by other load; see the warnings"] if self.noise.warnings else []


def _ratio_cells(ratio: Estimate) -> tuple[str, str]:
    return f"{ratio.value:.3f}", interval(ratio)


def compare(
    bundles: Sequence[str | os.PathLike[str]],
    *,
    threads: int | None = None,
    device: int | None = None,
    allow_host_code: bool = False,
    rounds: int = 40,
    queries_per_turn: int = 10,
    image: str | os.PathLike[str] | None = None,
    box: Box | None = None,
    csv: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> ComparisonReport:
    """Compare the speed of bundles or engines in alternating turns.

    Ctrl-C ends the comparison with the finished rounds, if there are at least six.

    Args:
        bundles: Two or more contenders, each a bundle (.fer), "edge", or BUNDLE@ENGINE, as in "edge@onnxruntime". The
            first is the baseline.
        threads: Number of CPU threads; default: the bundle's tuning, or the engine's choice.
        device: CUDA index of the GPU, for engines that run on one; default: 0.
        allow_host_code: Permission to run native code of a version-compatible TensorRT engine; only for bundles from a
            trusted source.
        rounds: Number of turns of each contender, at least 6; 40 by default.
        queries_per_turn: Number of timed queries of a turn; 10 by default.
        image: Image to use as the frame; default: a synthetic one.
        box: Face box x, y, width, height in pixels; default: the whole image.
        csv: CSV file to write.
        progress: Progress display; none by default.

    Returns:
        Latencies and ratios; `print(report)` shows them as tables.

    Raises:
        ConfigError: Wrong arguments.
        BundleError: Unreadable bundle, or one without the named engine.
        EngineError: Worker that failed.
        KeyboardInterrupt: Ctrl-C before the sixth round was finished.
    """
    if rounds < MIN_ROUNDS or queries_per_turn < 1:
        raise ConfigError(
            f"{rounds} rounds of {queries_per_turn} queries; expected at least {MIN_ROUNDS} rounds of 1 query"
        )
    contenders = [_Contender.parse(bundle) for bundle in bundles]
    names = [contender.name for contender in contenders]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError(f"expected two or more different contenders; got {', '.join(names)}")
    csv_path = None if csv is None else as_path(csv, "the path csv")
    image_path = None if image is None else as_path(image, "the path image")
    if csv_path is not None:
        check_output(csv_path, image_path, *(contender.bundle for contender in contenders))
    from fer_edge.benchmark.workload import workload_from_image

    workload = workload_from_image(image_path, box)
    environment = {"threads": threads or "engine's default", **_environment(contenders, device)}
    options = {"threads": threads, "device": device or 0, "allow_host_code": allow_host_code, "box": workload.box}
    with temporary_folder() as folder:
        frame = folder / "frame.npy"
        np.save(frame, workload.frame)
        commands = {
            contender.name: contender.command(folder / f"{index}.json", frame=frame, **options)
            for index, contender in enumerate(contenders)
        }
        with NoiseMonitor() as monitor, progress("comparing", rounds) as advance:
            times = compare_commands(commands, rounds, queries_per_turn, progress=lambda: advance(1))
    for warning in monitor.noise.warnings:
        LOGGER.warning("the machine was not quiet during the comparison: %s", warning)
    comparisons, finished = comparisons_from_times(times), len(next(iter(times.values())))
    if csv_path is not None:
        from fer_edge.benchmark.csv_rows import csv_from_rows, rows_from_comparisons

        write_atomically(csv_path, csv_from_rows(rows_from_comparisons(comparisons), environment).encode())
    return ComparisonReport(comparisons, finished, queries_per_turn, monitor.noise, environment)


@dataclass(frozen=True)
class _Contender:
    """A bundle, and one of its engines."""

    name: str
    bundle: Path
    engine: str | None  # None: the first that runs on this machine

    @classmethod
    def parse(cls, text: str | os.PathLike[str]) -> _Contender:
        """Parse BUNDLE or BUNDLE@ENGINE.

        Raises:
            ConfigError: Unknown engine, or no shipped bundle with this name.
        """
        path = str(as_path(text, "the bundle"))
        head, at, tail = path.rpartition("@")
        engine = None
        if at and "/" not in tail and not tail.endswith(".fer"):
            path, engine = head, tail
        if engine is not None and engine not in get_args(EngineName):
            engines = get_args(EngineName)
            raise ConfigError(
                f"no engine {engine!r}; expected one of: {', '.join(engines)}{did_you_mean(engine, engines)}"
            )
        bundle = path_or_shipped("bundle", path)
        return cls(str(bundle) if engine is None else f"{bundle}@{engine}", bundle, engine)

    def command(self, file: Path, **settings: Any) -> list[str]:
        """Return the command of this contender's worker.

        Args:
            file: File to write the worker's settings to.
            settings: Further settings of `worker.settings_text`.
        """
        from fer_edge.benchmark.worker import settings_text

        file.write_text(settings_text(str(self.bundle), self.engine, **settings))
        return [sys.executable, "-m", "fer_edge.benchmark.worker", "serve", str(file)]


def _environment(contenders: Sequence[_Contender], device: int | None) -> dict[str, str]:
    """Return the environment of the comparison, with the GPU if one of the engines runs on it.

    Raises:
        ConfigError: A device was given, and all engines run on the CPU.
        BundleError: Unreadable bundle, or one without the named engine.
    """
    from fer_edge.benchmark.arguments import check_device
    from fer_edge.benchmark.environment import environment, gpu_environment
    from fer_edge.bundle import Bundle
    from fer_edge.engines.registry import get_engine

    engines = {Bundle.open(contender.bundle).entry(contender.engine).engine for contender in contenders}
    check_device(engines, device)
    on_gpu = any(get_engine(engine).for_gpus for engine in engines)
    return environment() | (gpu_environment(device or 0) if on_gpu else {})


class Worker:
    """A worker process.

    Args:
        name: Name of the contender.
        command: Program and arguments.
        environment: Environment variables; default: those of this process.

    >>> with Worker("edge", ["python", "-m", "fer_edge.benchmark.worker", "serve", "settings.json"]) as worker:
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
