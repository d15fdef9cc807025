"""Single stream, as in MLPerf: each query starts when the last one has finished; the result is the 90th percentile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_edge.benchmark.arguments import check_positive
from fer_edge.benchmark.formatting import PERCENTILE_COLUMNS, interval, percentile_cells
from fer_edge.benchmark.statistics import Distribution, distribution_from_samples, find_warm_up, longest_warm_up
from fer_edge.benchmark.workload import STAGES, Clock, Query, clock, no_garbage_collection
from fer_edge.results import Table

MLPERF_QUERIES = 1024
MLPERF_SECONDS = 60.0
REPORT_INTERVAL = 200_000_000  # nanoseconds between two progress reports
UNSTEADY = "the speed changed in the middle of the run, so no warm-up was excluded"

Stamps = npt.NDArray[np.int64]  # (queries, 1 + stages) nanoseconds: start, and the end of each stage


@dataclass(frozen=True)
class SingleStream:
    """Result of the single-stream scenario."""

    seconds: float  # duration of the measured queries
    warm_up: int  # number of queries before them that were excluded
    first_ms: float  # latency of the very first query
    latency: Distribution
    stages: dict[str, Distribution]
    steady: bool  # False: the speed changed after the longest allowed warm-up, so no query was excluded

    @property
    def as_long_as_mlperf(self) -> bool:
        """True if the run has MLPerf's minimum number of queries and minimum duration."""
        return self.latency.count >= MLPERF_QUERIES and self.seconds >= MLPERF_SECONDS


def run_queries(
    query: Query,
    queries: int,
    seconds: float,
    *,
    now: Clock = clock,
    progress: Callable[[float], None] = lambda share: None,
) -> Stamps:
    """Repeat a query until both minimums are reached.

    If the run starts with a warm-up, it continues until both minimums are reached behind the longest warm-up that
    `find_warm_up` can exclude from it. The end of the warm-up is therefore determined once, on all queries.

    Args:
        query: Query to time.
        queries: Minimum number of queries after the warm-up.
        seconds: Minimum duration of the queries after the warm-up.
        now: Clock that `query` uses.
        progress: Callback that receives the finished share, 0 to 1.

    Raises:
        ConfigError: Duration that is not a positive number within the range of the clock.
    """
    check_positive("seconds", seconds)
    stamps: list[tuple[int, ...]] = []

    def share_done(cut: int) -> float:
        return min((len(stamps) - cut) / max(queries, 1), (stamps[-1][-1] - stamps[cut][0]) / (seconds * 1e9))

    def collect(longest_cut: Callable[[int], int]) -> None:
        reported = now()
        while not stamps or share_done(longest_cut(len(stamps))) < 1:
            stamps.append(query())
            if stamps[-1][-1] - reported > REPORT_INTERVAL:
                reported = stamps[-1][-1]
                progress(min(1.0, share_done(longest_cut(len(stamps)))))

    with no_garbage_collection():
        collect(lambda count: 0)
        if find_warm_up(_durations(np.array(stamps))).length:
            collect(longest_warm_up)
    return np.array(stamps)


def summarise_single_stream(stamps: Stamps) -> SingleStream:
    """Exclude the warm-up and summarise the remaining queries."""
    durations = _durations(stamps)
    warm_up = find_warm_up(durations)
    measured = stamps[warm_up.length :]
    parts = np.diff(measured, axis=1)
    return SingleStream(
        seconds=float(measured[-1, -1] - measured[0, 0]) / 1e9,
        warm_up=warm_up.length,
        first_ms=float(durations[0]) / 1e6,
        latency=distribution_from_samples(durations[warm_up.length :]),
        stages={name: distribution_from_samples(parts[:, index]) for index, name in enumerate(STAGES)},
        steady=warm_up.steady,
    )


def tables(result: SingleStream) -> list[Table]:
    """Return the latency of each stage."""
    stages = {**result.stages, "total": result.latency}
    rows = tuple((name, *percentile_cells(latency), f"{latency.max:.3f}") for name, latency in stages.items())
    title = f"single stream, one face: p90 {result.latency.p90.value:.3f} ms"
    return [Table(title, ("stage", *PERCENTILE_COLUMNS, "max ms"), rows)]


def notes(result: SingleStream) -> list[str]:
    """Return intervals and length of the run."""
    total = result.latency
    bounds = ", ".join(f"{name} {interval(getattr(total, name))}" for name in ("p50", "p90", "p99"))
    rule = "" if result.as_long_as_mlperf else f"; MLPerf requires {MLPERF_QUERIES} and {MLPERF_SECONDS:.0f} s"
    lines = [
        f"95 % confidence intervals of the total: {bounds} ms",
        f"{total.count} queries in {result.seconds:.1f} s after {result.warm_up} of warm-up{rule}",
    ]
    return lines if result.steady else [*lines, UNSTEADY]


def _durations(stamps: Stamps) -> Stamps:
    """Return the duration of each query."""
    return stamps[:, -1] - stamps[:, 0]
