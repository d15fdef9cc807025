"""Single stream, after MLPerf: the next query begins when the last one is done; the 90th percentile is the figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_edge.bench.statistics import Distribution, distribution_from_samples, warm_up_length
from fer_edge.bench.workload import STAGES, Clock, Query, clock, no_garbage_collection

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

    Args:
        query: What is timed.
        queries: As many queries must be left when those of the warm-up are taken away.
        seconds: As long must they take.
        now: The clock that `query` uses.
        progress: Told the share that is done.
    """
    stamps: list[tuple[int, ...]] = []

    def collect(until: int, deadline: int) -> None:
        told = now()
        while len(stamps) < until or stamps[-1][-1] < deadline:
            stamps.append(query())
            if stamps[-1][-1] - told > 200_000_000:
                told = stamps[-1][-1]
                progress(min(len(stamps) / until, 1 - (deadline - told) / max(seconds * 1e9, 1)))

    with no_garbage_collection():
        collect(max(queries, 1), now() + int(seconds * 1e9))
        warm_up = warm_up_length(_durations(np.array(stamps)))
        if warm_up:
            collect(queries + warm_up, stamps[warm_up][0] + int(seconds * 1e9))
    return np.array(stamps)


def summarise_single_stream(stamps: Stamps) -> SingleStream:
    """Cut the warm-up off and summarise what is left."""
    durations = _durations(stamps)
    warm_up = warm_up_length(durations)
    kept = stamps[warm_up:]
    parts = np.diff(kept, axis=1)
    return SingleStream(
        seconds=float(kept[-1, -1] - kept[0, 0]) / 1e9,
        warm_up=warm_up,
        first_ms=float(durations[0]) / 1e6,
        latency=distribution_from_samples(durations[warm_up:]),
        stages={name: distribution_from_samples(parts[:, index]) for index, name in enumerate(STAGES)},
    )


def _durations(stamps: Stamps) -> Stamps:
    return stamps[:, -1] - stamps[:, 0]
