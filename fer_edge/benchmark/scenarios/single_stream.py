"""Single stream, as in MLPerf: each query starts when the last one has finished; the result is the 90th percentile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from fer_edge.benchmark.drawing import Figure, Plot, new_figure
from fer_edge.benchmark.formatting import PERCENTILE_COLUMNS, interval, percentile_cells
from fer_edge.benchmark.scenario import Scenario, Session, Stamps
from fer_edge.benchmark.statistics import Distribution, distribution_from_samples, find_warm_up, longest_warm_up
from fer_edge.benchmark.workload import STAGES, Clock, Query, clock, no_garbage_collection, recognition
from fer_edge.html.theme import ACCENT, FAINT, LINE, SERIES
from fer_edge.results import Quantity, Table

MLPERF_QUERIES = 1024
MLPERF_SECONDS = 60.0
REPORT_INTERVAL = 200_000_000  # nanoseconds between two progress reports
DOTS = 20_000  # largest number of points in a plot
UNSTEADY = "the speed changed in the middle of the run, so no warm-up was excluded"


@dataclass(frozen=True)
class SingleStream:
    """Result of the single-stream scenario."""

    seconds: Annotated[float, Quantity(unit="s")]  # duration of the measured queries
    warm_up: Annotated[int, Quantity("warm-up", "queries")]  # number of queries before them that were excluded
    first_ms: Annotated[float, Quantity("first query", "ms")]  # latency of the very first query
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
    """
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


def _durations(stamps: Stamps) -> Stamps:
    """Return the duration of each query."""
    return stamps[:, -1] - stamps[:, 0]


class SingleStreamScenario(Scenario[SingleStream]):
    """One face after another."""

    title = "Single stream"
    about = "One face after another, from the frame to the expression."
    order = 10
    quick = True
    settings = frozenset({"queries", "seconds"})
    setting = "total"

    def run(self, session: Session) -> SingleStream:
        query, plan = recognition(session.recognizer, session.plan.workload), session.plan
        stamps = run_queries(query, plan.queries, plan.seconds, progress=session.progress)
        session.timelines[self.name] = stamps
        return summarise_single_stream(stamps)

    def tables(self, result: SingleStream) -> list[Table]:
        stages = {**result.stages, "total": result.latency}
        rows = tuple((name, *percentile_cells(latency), f"{latency.max:.3f}") for name, latency in stages.items())
        title = f"single stream, one face: p90 {result.latency.p90.value:.3f} ms"
        return [Table(title, ("stage", *PERCENTILE_COLUMNS, "max ms"), rows)]

    def notes(self, result: SingleStream) -> list[str]:
        total = result.latency
        bounds = ", ".join(f"{name} {interval(getattr(total, name))}" for name in ("p50", "p90", "p99"))
        rule = "" if result.as_long_as_mlperf else f"; MLPerf requires {MLPERF_QUERIES} and {MLPERF_SECONDS:.0f} s"
        lines = [
            f"95 % confidence intervals of the total: {bounds} ms",
            f"{total.count} queries in {result.seconds:.1f} s after {result.warm_up} of warm-up{rule}",
        ]
        return lines if result.steady else [*lines, UNSTEADY]

    def plots(self, result: SingleStream, stamps: Stamps | None) -> list[Plot]:
        plots = [Plot(lambda: draw_distribution(result.latency), "Histogram of latencies.")]
        if stamps is not None:
            plots.append(Plot(lambda: draw_timeline(stamps, result), "Latency of each query."))
        return plots

    def tiles(self, result: SingleStream) -> list[tuple[str, str]]:
        return [
            (f"{name[1:]}th percentile", f"{getattr(result.latency, name).value:.2f} ms") for name in ("p90", "p50")
        ]


def draw_distribution(latency: Distribution) -> Figure:
    """Draw the histogram with percentiles and their intervals."""
    figure, axes = new_figure(3.2)
    edges = latency.histogram.edges
    axes.stairs(latency.histogram.counts, edges, fill=True, color=ACCENT, alpha=0.85)
    top = axes.get_ylim()[1]
    for color, name in zip(SERIES[1:], ("p50", "p90", "p99"), strict=False):
        estimate = getattr(latency, name)
        right = edges[-1] if estimate.high is None else min(estimate.high, edges[-1])
        if estimate.low is not None:
            axes.axvspan(estimate.low, right, color=color, alpha=0.2, linewidth=0)
        if estimate.value <= edges[-1]:
            axes.axvline(estimate.value, color=color, linewidth=1.5, label=f"{name} {estimate.value:.2f}")
    axes.set(xlabel="milliseconds", ylabel="queries", xlim=(edges[0], edges[-1]), ylim=(0, top))
    figure.legend(loc="outside upper right", ncols=3, fontsize=9)
    return figure


def draw_timeline(stamps: Stamps, result: SingleStream) -> Figure:
    """Draw the latency of each query over its start time."""
    figure, axes = new_figure(2.8)
    seconds = (stamps[:, 0] - stamps[0, 0]) / 1e9
    latency = (stamps[:, -1] - stamps[:, 0]) / 1e6
    step = -(-len(stamps) // DOTS)
    axes.scatter(seconds[::step], latency[::step], s=4, color=ACCENT, alpha=0.5, linewidths=0)
    if result.warm_up:
        axes.axvspan(0, seconds[result.warm_up], color=LINE, alpha=0.6, linewidth=0, label="warm-up, excluded")
    axes.axhline(result.latency.p90.value, color=SERIES[1], linewidth=1.2, label="90th percentile")
    top = max(result.latency.p99.value * 1.6, result.latency.p90.value * 2)
    above = int((latency > top).sum())
    axes.set(xlabel="seconds", ylabel="milliseconds", ylim=(0, top), xlim=(0, seconds[-1]))
    if above:
        axes.text(0.99, 0.97, f"{above} above", transform=axes.transAxes, ha="right", va="top", color=FAINT)
    figure.legend(loc="outside upper right", ncols=2, fontsize=9)
    return figure


SCENARIO = SingleStreamScenario()
