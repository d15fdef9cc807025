"""Sustained: one stream for minutes, to show slow-down by heat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from fer_edge.benchmark.drawing import Figure, Plot, new_figure
from fer_edge.benchmark.formatting import with_interval
from fer_edge.benchmark.scenario import Scenario, Session, Stamps
from fer_edge.benchmark.statistics import Estimate, trend
from fer_edge.benchmark.workload import Clock, Query, clock, no_garbage_collection, recognition
from fer_edge.hardware.cpu import frequency_mhz, temperature, throttle_count
from fer_edge.html.theme import SERIES
from fer_edge.results import Quantity, Table

WINDOWS = 24  # windows of equal length in a run
DRIFTS = 1.0  # percent per minute; a significant drift is larger


@dataclass(frozen=True)
class Window:
    """One part of the run."""

    start: Annotated[float, Quantity(key="{:g} s")]  # since the start of the run
    queries: int
    p50: Annotated[float, Quantity(unit="ms")]
    p90: Annotated[float, Quantity(unit="ms")]
    mhz: Annotated[float | None, Quantity("clock", "MHz")]  # mean clock frequency of the CPU cores; None: unknown
    celsius: Annotated[float | None, Quantity("temperature", "degrees Celsius")]  # highest temperature of all sensors
    throttled: int | None  # number of thermal throttling events


@dataclass(frozen=True)
class Sustained:
    """Result of the sustained scenario."""

    seconds: Annotated[float, Quantity(unit="s")]
    windows: list[Window]
    drift: Annotated[Estimate, Quantity(unit="% per minute")]  # change of the median latency; positive: slower
    slowest_to_fastest: Annotated[float, Quantity("slowest to fastest window")]  # ratio of the windows' medians

    @property
    def drifts(self) -> bool:
        """True if the interval of the drift is above or below 1 % per minute."""
        low, high = self.drift.low, self.drift.high
        return low is not None and high is not None and (low > DRIFTS or high < -DRIFTS)


def run_sustained(
    query: Query,
    seconds: float,
    *,
    now: Clock = clock,
    progress: Callable[[float], None] = lambda share: None,
) -> Sustained:
    """Repeat a query for a long time.

    Args:
        query: Query to time.
        seconds: Duration of the run.
        now: Clock that `query` uses.
        progress: Callback that receives the finished share, 0 to 1.
    """
    windows: list[Window] = []
    length = int(seconds * 1e9 / WINDOWS)
    with no_garbage_collection():
        begin = now()
        for index in range(WINDOWS):
            before = throttle_count()
            durations = _run_window(query, begin + (index + 1) * length)
            p50, p90 = np.percentile(durations, [50, 90], method="inverted_cdf") / 1e6
            after = throttle_count()
            throttled = None if before is None or after is None else after - before
            start = index * length / 1e9
            windows.append(
                Window(start, len(durations), float(p50), float(p90), frequency_mhz(), temperature(), throttled)
            )
            progress((index + 1) / WINDOWS)
        duration = (now() - begin) / 1e9
    medians = np.array([window.p50 for window in windows])
    minutes = np.array([window.start for window in windows]) / 60
    drift = trend(minutes, 100 * medians / np.median(medians))
    return Sustained(duration, windows, drift, float(medians.max() / medians.min()))


def _run_window(query: Query, until: int) -> list[int]:
    """Repeat a query until a time of its clock; return the nanoseconds of each."""
    durations: list[int] = []
    ended = 0
    while not durations or ended < until:
        began, *_, ended = query()
        durations.append(ended - began)
    return durations


class SustainedScenario(Scenario[Sustained]):
    """One stream for minutes."""

    title = "Sustained"
    order = 90
    settings = frozenset({"minutes"})

    def run(self, session: Session) -> Sustained:
        query = recognition(session.recognizer, session.plan.workload)
        return run_sustained(query, session.plan.minutes * 60, progress=session.progress)

    def tables(self, result: Sustained) -> list[Table]:
        rows = tuple(
            (
                f"{window.start:.1f}",
                window.queries,
                f"{window.p50:.3f}",
                f"{window.p90:.3f}",
                *("-" if value is None else f"{value:.0f}" for value in (window.mhz, window.celsius)),
            )
            for window in result.windows
        )
        return [Table(f"sustained for {result.seconds:.0f} s", ("s", "queries", "p50 ms", "p90 ms", "MHz", "°C"), rows)]

    def notes(self, result: Sustained) -> list[str]:
        verdict = "significant drift" if result.drifts else "no significant drift"
        return [
            f"the median changes by {with_interval(result.drift, 2)} % per minute: {verdict}; "
            f"the slowest window's median is {result.slowest_to_fastest:.2f} times the fastest's"
        ]

    def plots(self, result: Sustained, stamps: Stamps | None) -> list[Plot]:
        return [Plot(lambda: draw_sustained(result), "Latency over the sustained run.")]


def draw_sustained(result: Sustained) -> Figure:
    """Draw the percentiles of each window of the sustained run."""
    figure, axes = new_figure(2.8)
    minutes = [window.start / 60 for window in result.windows]
    for color, name in zip(SERIES, ("p50", "p90"), strict=False):
        axes.plot(minutes, [getattr(window, name) for window in result.windows], "o-", ms=3.5, color=color, label=name)
    for window, minute in zip(result.windows, minutes, strict=True):
        if window.throttled:
            axes.axvline(minute, color=SERIES[1], linestyle=":", linewidth=1)
    axes.set(xlabel="minutes", ylabel="milliseconds", ylim=(0, None))
    axes.grid(linewidth=0.6)
    figure.legend(loc="outside upper right", ncols=2, fontsize=9)
    return figure


SCENARIO = SustainedScenario()
