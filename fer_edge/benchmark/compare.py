"""Comparison of bundles or engines: each runs in a worker process of its own, and the workers alternate in turns."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fer_edge._files import as_path, check_output, write_atomically
from fer_edge.benchmark.arguments import check_device
from fer_edge.benchmark.formatting import PERCENTILE_COLUMNS, interval, percentile_cells
from fer_edge.benchmark.noise import Noise, NoiseMonitor
from fer_edge.benchmark.rows import csv_from_rows, rows_from_comparisons
from fer_edge.benchmark.statistics import Estimate
from fer_edge.benchmark.worker import (
    MIN_ROUNDS,
    Comparison,
    compare_commands,
    comparisons_from_times,
    temporary_folder,
    write_settings,
)
from fer_edge.benchmark.workload import workload_from_image
from fer_edge.bundle import Bundle
from fer_edge.engines.base import RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.environment import environment, gpu_environment
from fer_edge.errors import ConfigError
from fer_edge.progress import Progress, silent
from fer_edge.results import Result, Table
from fer_edge.shipped import path_or_shipped

if TYPE_CHECKING:
    from fer_edge.boxes import Box

LOGGER = logging.getLogger("fer_edge")


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
        threads: Number of CPU threads; default: the engine's choice.
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
    workload = workload_from_image(image_path, box)
    facts = {"threads": threads or "engine's default", **_environment(contenders, device)}
    options = RunOptions(threads=threads, device=device or 0, allow_host_code=allow_host_code)
    with temporary_folder() as folder:
        commands = {}
        for index, contender in enumerate(contenders):
            file = write_settings(folder / f"{index}.json", contender.bundle, contender.engine, options, workload)
            commands[contender.name] = [sys.executable, "-m", "fer_edge.benchmark.worker", str(file)]
        with NoiseMonitor() as monitor, progress("comparing", rounds) as advance:
            times = compare_commands(commands, rounds, queries_per_turn, progress=lambda: advance(1))
    for warning in monitor.noise.warnings:
        LOGGER.warning("the machine was not quiet during the comparison: %s", warning)
    comparisons, finished = comparisons_from_times(times), len(next(iter(times.values())))
    if csv_path is not None:
        write_atomically(csv_path, csv_from_rows(rows_from_comparisons(comparisons), facts).encode())
    return ComparisonReport(comparisons, finished, queries_per_turn, monitor.noise, facts)


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
        if engine is not None:
            get_engine(engine)
        bundle = path_or_shipped("bundle", path)
        return cls(str(bundle) if engine is None else f"{bundle}@{engine}", bundle, engine)


def _environment(contenders: Sequence[_Contender], device: int | None) -> dict[str, str]:
    """Return the environment of the comparison, with the GPU if one of the engines runs on it.

    Raises:
        ConfigError: A device was given, and all engines run on the CPU.
        BundleError: Unreadable bundle, or one without the named engine.
    """
    bundles = {path: Bundle.open(path) for path in dict.fromkeys(contender.bundle for contender in contenders)}
    engines = {bundles[contender.bundle].entry(contender.engine).engine for contender in contenders}
    check_device(engines, device)
    on_gpu = any(get_engine(engine).for_gpus for engine in engines)
    return environment() | (gpu_environment(device or 0) if on_gpu else {})
