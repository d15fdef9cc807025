"""Sustained: one stream for minutes. A small machine is fast until it is warm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fer_edge.benchmark.noise import frequency_mhz, temperature, throttle_count
from fer_edge.benchmark.scenarios.checks import check_positive
from fer_edge.benchmark.statistics import Estimate, trend
from fer_edge.benchmark.workload import Clock, Query, clock, no_garbage_collection

WINDOWS = 24  # of equal length in a run
DRIFTS = 1.0  # percent a minute, above which a run is said to drift


@dataclass(frozen=True)
class Window:
    """A part of the run."""

    start: float  # seconds since the run began
    queries: int
    p50: float  # milliseconds
    p90: float
    mhz: float | None  # the processors' mean clock; None: the system does not tell
    celsius: float | None  # the warmest sensor
    throttled: int | None  # how often processors slowed down for their temperature in this part


@dataclass(frozen=True)
class Sustained:
    """A long run."""

    seconds: float
    windows: list[Window]
    drift: Estimate  # percent that the median changes a minute; more is slower
    slowest_to_fastest: float  # medians of windows

    @property
    def drifts(self) -> bool:
        """Whether it certainly gets slower or faster."""
        low, high = self.drift.low, self.drift.high
        return low is not None and high is not None and (low > DRIFTS or high < -DRIFTS)


def run_sustained(
    query: Query,
    seconds: float,
    *,
    now: Clock = clock,
    progress: Callable[[float], None] = lambda share: None,
) -> Sustained:
    """Run a query again and again for so many seconds.

    Args:
        query: What is timed.
        seconds: How long.
        now: The clock that `query` uses.
        progress: Told the share that is done.

    Raises:
        ConfigError: The seconds are not above 0, or too many to count.
    """
    check_positive("the number of seconds", seconds)
    windows: list[Window] = []
    length = int(seconds * 1e9 / WINDOWS)
    with no_garbage_collection():
        begin = now()
        for index in range(WINDOWS):
            throttled = throttle_count()
            durations = _run_window(query, begin + (index + 1) * length)
            p50, p90 = np.percentile(durations, [50, 90], method="inverted_cdf") / 1e6
            after = throttle_count()
            slowed = None if throttled is None or after is None else after - throttled
            start = index * length / 1e9
            windows.append(
                Window(start, len(durations), float(p50), float(p90), frequency_mhz(), temperature(), slowed)
            )
            progress((index + 1) / WINDOWS)
        took = (now() - begin) / 1e9
    medians = np.array([window.p50 for window in windows])
    minutes = np.array([window.start for window in windows]) / 60
    drift = trend(minutes, 100 * medians / np.median(medians))
    return Sustained(took, windows, drift, float(medians.max() / medians.min()))


def _run_window(query: Query, until: int) -> list[int]:
    durations: list[int] = []
    ended = 0
    while not durations or ended < until:
        began, *_, ended = query()
        durations.append(ended - began)
    return durations
