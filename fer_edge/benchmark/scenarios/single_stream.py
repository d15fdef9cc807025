"""Single stream, after MLPerf: the next query begins when the last one is done; the 90th percentile is the figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_edge.benchmark.scenarios.checks import check_positive
from fer_edge.benchmark.statistics import Distribution, distribution_from_samples, find_warm_up, longest_warm_up
from fer_edge.benchmark.workload import STAGES, Clock, Query, clock, no_garbage_collection

MLPERF_QUERIES = 1024
MLPERF_SECONDS = 60.0

Stamps = npt.NDArray[np.int64]  # (queries, 1 + stages) nanoseconds: begin, and the end of each stage


@dataclass(frozen=True)
class SingleStream:
    """What one stream of queries took."""

    seconds: float  # of the queries that count
    warm_up: int  # queries before, which do not
    first_ms: float  # the first query of all
    latency: Distribution
    stages: dict[str, Distribution]
    steady: bool  # False: it changed its speed later than a warm-up ends, so none is cut

    @property
    def as_long_as_mlperf(self) -> bool:
        """Whether MLPerf's smallest number of queries and shortest time were reached."""
        return self.latency.count >= MLPERF_QUERIES and self.seconds >= MLPERF_SECONDS


def run_queries(
    query: Query,
    queries: int,
    seconds: float,
    *,
    now: Clock = clock,
    progress: Callable[[float], None] = lambda share: None,
) -> Stamps:
    """Run a query again and again, at least so often and at least so long.

    A run that begins with a warm-up goes on until as much as was asked for is left behind the longest warm-up that can
    be found in it. So where the warm-up ends is decided once, on all that was run, and whatever is found is made up
    for.

    Args:
        query: What is timed.
        queries: As many queries must be left when those of the warm-up are taken away.
        seconds: As long must they take.
        now: The clock that `query` uses.
        progress: Told the share that is done.

    Raises:
        ConfigError: The seconds are not above 0, or too many to count.
    """
    check_positive("the number of seconds", seconds)
    stamps: list[tuple[int, ...]] = []

    def share_done(cut: int) -> float:
        return min((len(stamps) - cut) / max(queries, 1), (stamps[-1][-1] - stamps[cut][0]) / (seconds * 1e9))

    def collect(longest_cut: Callable[[int], int]) -> None:
        told = now()
        while not stamps or share_done(longest_cut(len(stamps))) < 1:
            stamps.append(query())
            if stamps[-1][-1] - told > 200_000_000:
                told = stamps[-1][-1]
                progress(min(1.0, share_done(longest_cut(len(stamps)))))

    with no_garbage_collection():
        collect(lambda count: 0)
        if find_warm_up(_durations(np.array(stamps))).length:
            collect(longest_warm_up)
    return np.array(stamps)


def summarise_single_stream(stamps: Stamps) -> SingleStream:
    """Cut the warm-up off and summarise what is left."""
    durations = _durations(stamps)
    warm_up = find_warm_up(durations)
    kept = stamps[warm_up.length :]
    parts = np.diff(kept, axis=1)
    return SingleStream(
        seconds=float(kept[-1, -1] - kept[0, 0]) / 1e9,
        warm_up=warm_up.length,
        first_ms=float(durations[0]) / 1e6,
        latency=distribution_from_samples(durations[warm_up.length :]),
        stages={name: distribution_from_samples(parts[:, index]) for index, name in enumerate(STAGES)},
        steady=warm_up.steady,
    )


def _durations(stamps: Stamps) -> Stamps:
    return stamps[:, -1] - stamps[:, 0]
