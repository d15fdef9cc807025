"""Plots of the report page, and parts that several of them share. matplotlib is imported when a plot is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from fer_edge.benchmark.statistics import Distribution
from fer_edge.html.theme import ACCENT, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure as Figure
else:
    Axes = Figure = Any

WIDTH = 5.2  # inches; wider plots are hard to read on a phone


class Plot(NamedTuple):
    """A figure of the report page."""

    draw: Callable[[], Figure]  # draws the figure
    text: str  # alternative text


def new_figure(height: float) -> tuple[Figure, Axes]:
    """Return a figure of `height` inches with one plot."""
    figure = _figure(height)
    return figure, figure.add_subplot()


def draw_rate_and_latency(
    label: str,
    numbers: Sequence[int],
    rates: Sequence[float],
    latencies: Sequence[Distribution],
) -> Figure:
    """Draw the rate on the left and percentiles of latency on the right, over batches or streams."""
    figure = _figure(2.8)
    left, right = figure.subplots(1, 2)
    left.plot(numbers, rates, "o-", color=ACCENT)
    left.set(ylabel="images per second", ylim=(0, None))
    for color, name in zip(SERIES, ("p50", "p90", "p99"), strict=False):
        values = [getattr(latency, name).value for latency in latencies]
        right.plot(numbers, values, "o-", ms=3.5, color=color, label=name)
    right.set_ylabel("milliseconds")
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.set_xlabel(label)
        axes.grid(linewidth=0.6)
    return figure


def logarithmic(axes: Axes, side: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, with plain numbers: the pages disable mathtext, which powers of ten need."""
    from matplotlib.ticker import NullFormatter

    axes.set(**{f"{side}scale": "log"})
    axis = axes.xaxis if side == "x" else axes.yaxis
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def _figure(height: float) -> Figure:
    from matplotlib import figure

    return figure.Figure(figsize=(WIDTH, height), layout="constrained")
