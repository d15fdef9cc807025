"""Parts of plots that several scenarios share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from fer_edge.benchmark.statistics import Distribution
from fer_edge.html.theme import Theme

if TYPE_CHECKING:
    from fer_edge.benchmark.scenarios.batches import BatchResult
    from fer_edge.benchmark.scenarios.multi_stream import MultiStream

WIDTH = 5.2  # inches; wider plots are hard to read on a phone


def draw_rate_and_latency(
    theme: Theme, label: str, numbers: Sequence[int], results: Sequence[BatchResult] | Sequence[MultiStream]
) -> Figure:
    """Draw the rate on the left and percentiles of latency on the right, over batches or streams."""
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(numbers, [result.images_per_second for result in results], "o-", color=theme.accent)
    left.set(ylabel="images per second", ylim=(0, None))
    _percentiles(theme, right, numbers, [result.latency for result in results])
    for axes in (left, right):
        axes.set_xlabel(label)
        axes.grid(linewidth=0.6)
    return figure


def _percentiles(theme: Theme, axes: Axes, xs: Sequence[int], latencies: Sequence[Distribution]) -> None:
    """Draw three percentiles of each latency."""
    for color, name in zip(theme.series, ("p50", "p90", "p99"), strict=False):
        axes.plot(xs, [getattr(latency, name).value for latency in latencies], "o-", ms=3.5, color=color, label=name)
    axes.set_ylabel("milliseconds")
    axes.legend(fontsize=8)


def logarithmic(axes: Axes, side: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, with plain numbers: the pages disable mathtext, which powers of ten need."""
    axes.set(**{f"{side}scale": "log"})
    axis = axes.xaxis if side == "x" else axes.yaxis
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def new_figure(height: float) -> tuple[Figure, Axes]:
    """Return a figure of `height` inches with one plot."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()
