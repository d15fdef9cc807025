"""Contenders of one process: they take turns, are compared and are written as those with a process each are."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_edge.benchmark.compare import Rounds, comparisons, take_turns
from fer_edge.benchmark.csv_rows import Record, csv_from_records, records_from_comparisons
from fer_edge.benchmark.environment import environment
from fer_edge.benchmark.noise import NoiseMonitor
from fer_edge.benchmark.workload import no_garbage_collection

TURN = 20  # queries of a turn that count


@dataclass(frozen=True)
class Call:
    """Something to time in this process."""

    name: str
    call: Callable[[], Any]

    def time(self, queries: int) -> list[int]:
        """Durations in nanoseconds."""
        durations = []
        with no_garbage_collection():
            for _ in range(queries):
                started = time.perf_counter_ns()
                self.call()
                durations.append(time.perf_counter_ns() - started)
        return durations


def pairs(times: Mapping[str, Rounds], wanted: Iterable[tuple[str, str]]) -> list[Record]:
    """The ratios of those pairs that ran, with intervals: each is of turns in the same rounds."""
    found = []
    for name, base in wanted:
        if name in times and base in times:
            _, one = comparisons({base: times[base], name: times[name]})
            ratio = one.p50_ratio
            found.append(Record("pairs", f"{name} to {base}", "ratio of p50", "", ratio.value, ratio.low, ratio.high))
    return found


def told(pair: Record) -> str:
    """One line for people."""
    bounds = "" if pair.low is None or pair.high is None else f" ({pair.low:.4f} to {pair.high:.4f})"
    return f"{pair.setting}: {pair.figure} {pair.value:.4f}{bounds}"


def run(
    calls: Mapping[str, Callable[[], Any]],
    wanted: Iterable[tuple[str, str]],
    rounds: int,
    settings: Mapping[str, Any],
    csv: Path | None,
) -> None:
    """Time calls in turns, print medians and ratios, and write all as CSV where asked to.

    Args:
        calls: What is timed, by name.
        wanted: Pairs whose ratio is of interest.
        rounds: How often each has its turn.
        settings: What else describes the run.
        csv: The file.
    """
    with NoiseMonitor() as watch:
        times = take_turns([Call(name, call) for name, call in calls.items()], rounds, TURN)
    found, paired = comparisons(times), pairs(times, wanted)
    for one in found:
        print(f"{one.name}: p50 {one.latency.p50.value:.3f} ms, p99 {one.latency.p99.value:.3f} ms")
    for pair in paired:
        print(told(pair))
    finish([*records_from_comparisons(found), *paired], {**settings, "rounds": rounds}, watch, csv)


def finish(records: Iterable[Record], settings: Mapping[str, Any], watch: NoiseMonitor, csv: Path | None) -> None:
    """Warn if the machine was not quiet, and write a CSV where asked to."""
    for warning in watch.noise.warnings:
        print(f"warning: the machine was not quiet: {warning}", file=sys.stderr)
    if csv is not None:
        csv.parent.mkdir(parents=True, exist_ok=True)
        described = {**settings, "noise": "; ".join(watch.noise.warnings), **environment()}
        csv.write_text(csv_from_records(records, described))
