"""Comparison of functions in one process: they alternate in turns, with the same output as separate processes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_edge.benchmark.noise import NoiseMonitor
from fer_edge.benchmark.rows import Row, csv_from_rows, rows_from_comparisons
from fer_edge.benchmark.worker import Times, alternate, comparisons_from_times
from fer_edge.benchmark.workload import no_garbage_collection
from fer_edge.environment import environment

QUERIES_PER_TURN = 20  # timed queries of a turn


@dataclass(frozen=True)
class TimedCall:
    """A function to time in this process."""

    name: str
    call: Callable[[], Any]

    def time(self, queries: int) -> list[int]:
        """Call the function and return the durations in nanoseconds."""
        durations = []
        with no_garbage_collection():
            for _ in range(queries):
                started = time.perf_counter_ns()
                self.call()
                durations.append(time.perf_counter_ns() - started)
        return durations


def ratio_rows(times: Mapping[str, Times], pairs: Iterable[tuple[str, str]]) -> list[Row]:
    """Return the ratio of each pair whose members were timed, with its interval over rounds.

    Args:
        times: Times by name.
        pairs: Name of the numerator and of the denominator.
    """
    rows = []
    for name, base in pairs:
        if name in times and base in times:
            _, comparison = comparisons_from_times({base: times[base], name: times[name]})
            ratio = comparison.p50_ratio
            rows.append(Row("pairs", f"{name} to {base}", "ratio of p50", "", ratio.value, ratio.low, ratio.high))
    return rows


def ratio_text(pair: Row) -> str:
    """Return the ratio of a pair as one line."""
    bounds = "" if pair.low is None or pair.high is None else f" ({pair.low:.4f} to {pair.high:.4f})"
    return f"{pair.setting}: {pair.figure} {pair.value:.4f}{bounds}"


def run(
    calls: Mapping[str, Callable[[], Any]],
    pairs: Iterable[tuple[str, str]],
    rounds: int,
    settings: Mapping[str, Any],
    csv: Path | None,
) -> None:
    """Time functions in alternating turns, print medians and ratios, and write a CSV file if one is given.

    Args:
        calls: Functions by name.
        pairs: Pairs of names whose ratio is printed.
        rounds: Number of turns of each function.
        settings: Further columns of the CSV file.
        csv: File to write.
    """
    with NoiseMonitor() as monitor:
        times = alternate([TimedCall(name, call) for name, call in calls.items()], rounds, QUERIES_PER_TURN)
    comparisons, ratios = comparisons_from_times(times), ratio_rows(times, pairs)
    for comparison in comparisons:
        latency = comparison.latency
        print(f"{comparison.name}: p50 {latency.p50.value:.3f} ms, p99 {latency.p99.value:.3f} ms")
    for ratio in ratios:
        print(ratio_text(ratio))
    finish([*rows_from_comparisons(comparisons), *ratios], {**settings, "rounds": rounds}, monitor, csv)


def finish(rows: Iterable[Row], settings: Mapping[str, Any], monitor: NoiseMonitor, csv: Path | None) -> None:
    """Print warnings about other load, and write a CSV file if one is given."""
    for warning in monitor.noise.warnings:
        print(f"warning: the machine was not quiet: {warning}", file=sys.stderr)
    if csv is not None:
        csv.parent.mkdir(parents=True, exist_ok=True)
        columns = {**settings, "noise": "; ".join(monitor.noise.warnings), **environment()}
        csv.write_text(csv_from_rows(rows, columns))
