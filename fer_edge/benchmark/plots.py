"""Plots of a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from fer_edge.benchmark.scenarios.batches import BatchResult
from fer_edge.benchmark.scenarios.cold_start import ColdStart
from fer_edge.benchmark.scenarios.multi_stream import MultiStream
from fer_edge.benchmark.scenarios.open_loop import OpenLoop
from fer_edge.benchmark.scenarios.roofline import LayerShare, Roofline, bandwidth, peak_for
from fer_edge.benchmark.scenarios.scaling import ScalingPoint
from fer_edge.benchmark.scenarios.single_stream import SingleStream, Stamps
from fer_edge.benchmark.scenarios.sustained import Sustained
from fer_edge.benchmark.statistics import Distribution
from fer_edge.html.theme import ACCENT, FAINT, INK, LINE, SERIES

WIDTH = 5.2  # inches; wider plots are hard to read on a phone
LAYERS = 24  # number of slowest layers in a plot
NAME = 30  # characters of a layer name that fit
DOTS = 20_000  # largest number of points in a plot
LINES = ("-", "--", ":", "-.")
PRECISIONS = ("f32", "f16", "bf16", "i8", "u8")


def draw_distribution(latency: Distribution) -> Figure:
    """Draw the histogram with percentiles and their intervals."""
    figure, axes = _new_figure(3.2)
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
    figure, axes = _new_figure(2.8)
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


def draw_batches(results: Sequence[BatchResult]) -> Figure:
    """Draw rate and latency over the batch size."""
    sizes = [result.batch for result in results]
    figure = _draw_rate_and_latency("batch", sizes, results)
    for axes in figure.axes:
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set_xticks([], minor=True)
    _logarithmic(figure.axes[1], "y")
    return figure


def draw_streams(results: Sequence[MultiStream]) -> Figure:
    """Draw rate and latency over the number of streams."""
    counts = [result.streams for result in results]
    figure = _draw_rate_and_latency("streams", counts, results)
    for axes in figure.axes:
        axes.set_xticks(counts)
    return figure


def draw_open_loop(results: Sequence[OpenLoop]) -> Figure:
    """Draw percentiles of latency at each frame rate, and the limit of late frames."""
    figure, axes = _new_figure(0.9 + 0.62 * len(results))
    names = ("p50", "p90", "p99")
    for row, result in enumerate(results):
        values = [getattr(result.latency, name).value for name in names]
        axes.plot(values, [row] * 3, color=LINE, linewidth=3, zorder=1, solid_capstyle="round")
        for color, marker, name, value in zip(SERIES, "osD", names, values, strict=False):
            axes.scatter(value, row, s=36, color=color, marker=marker, zorder=2, label=name if row == 0 else None)
        deadline = 1000 / result.rate
        axes.plot([deadline] * 2, [row - 0.35, row + 0.35], color=INK, linewidth=1.6)
        axes.text(deadline, row + 0.38, f"late after {deadline:.1f}", ha="center", va="top", fontsize=8)
    axes.set(xlabel="milliseconds since the due time of the frame", ylim=(len(results) - 0.4, -0.6), xlim=(0, None))
    axes.set_yticks(range(len(results)), [f"{result.rate:g} Hz" for result in results])
    axes.grid(axis="x", linewidth=0.6)
    figure.legend(loc="outside upper right", ncols=3, fontsize=9)
    return figure


def draw_sustained(result: Sustained) -> Figure:
    """Draw the percentiles of each window of the sustained run."""
    figure, axes = _new_figure(2.8)
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


def draw_scaling(points: Sequence[ScalingPoint]) -> Figure:
    """Draw images per second over the 99th percentile; a line joins the batch sizes of one setting."""
    figure, axes = _new_figure(3.6)
    settings = list(dict.fromkeys((point.threads, point.streams) for point in points))
    for index, (threads, streams) in enumerate(settings):
        members = [point for point in points if (point.threads, point.streams) == (threads, streams)]
        style = LINES[index // len(SERIES) % len(LINES)]
        axes.plot(
            [point.latency.p99.value for point in members], [point.images_per_second for point in members],
            style, marker="o", ms=3.5, linewidth=1.2, color=SERIES[index % len(SERIES)],
            label=f"threads {threads}, streams {streams}",
        )  # fmt: skip
    _logarithmic(axes, "x")
    axes.set(
        xlabel="p99 of a batch in milliseconds, engine only", ylabel="images per second, engine only", ylim=(0, None)
    )
    axes.grid(linewidth=0.6)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    return figure


def draw_cold_start(result: ColdStart) -> Figure:
    """Draw the steps to the first result, one after another."""
    figure, axes = _new_figure(1.7)
    steps = {
        "Python": result.python.value,
        "imports": result.imports.value,
        "load": result.load.value,
        "first query": result.first_query.value,
    }
    start = 0.0
    for color, (name, duration) in zip(SERIES, steps.items(), strict=False):
        axes.barh(0, duration, left=start, color=color, height=0.5, label=f"{name} {duration:.0f}")
        start += duration
    axes.set(yticks=[], xlabel="milliseconds since the start of the process", ylim=(-0.5, 0.5))
    axes.spines["left"].set_visible(False)
    figure.legend(loc="outside upper left", ncols=4, fontsize=9, handlelength=1)
    return figure


def draw_layers(result: Roofline) -> Figure:
    """Draw the slowest layers, and the time of their multiply-accumulates at the peak."""
    slowest = sorted(result.layers, key=lambda share: -share.layer.microseconds)[:LAYERS]
    figure, axes = _new_figure(0.9 + 0.2 * len(slowest))
    rows = range(len(slowest))
    axes.barh(rows, [share.layer.microseconds for share in slowest], color=LINE, height=0.7, label="measured")
    at_peak = [share.layer.macs / share.peak * 1e6 if share.peak else 0 for share in slowest]
    axes.barh(rows, at_peak, color=ACCENT, height=0.35, label="at the peak")
    axes.set_yticks(rows, [_shorten(share.layer.name) for share in slowest], fontsize=8)
    axes.set(xlabel="microseconds", ylim=(len(slowest) - 0.3, -0.7))
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper right", ncols=2, fontsize=9)
    return figure


def draw_roofline(result: Roofline) -> Figure:
    """Draw the rate of each layer over its arithmetic intensity, and the roofs of memory and of each precision."""
    figure, axes = _new_figure(4.2)
    drawn = [share for share in result.layers if share.layer.macs and share.layer.microseconds]
    xs = np.geomspace(min(0.1, *(share.macs_per_byte for share in drawn)), 1000, 100)
    speed = bandwidth(result.peaks)
    present = [name for name in PRECISIONS if any(_family(share) == _family_of(name) for share in drawn)]
    for precision in dict.fromkeys(map(_family_of, (*present, "f32", "i8"))):
        peak = peak_for(precision, result.peaks)
        if peak is not None:
            axes.plot(xs, np.minimum(peak, xs * speed) / 1e9, color=FAINT, linewidth=1.2, zorder=1)
            axes.text(xs[-1], peak / 1e9 * 1.08, f"{precision} {peak / 1e9:.0f}", ha="right", color=INK)
    largest = max(share.layer.microseconds for share in drawn)
    for color, marker, family in zip(SERIES, "osD^v", dict.fromkeys(map(_family, drawn)), strict=False):
        members = [share for share in drawn if _family(share) == family]
        axes.scatter(
            [share.macs_per_byte for share in members],
            [share.macs_per_second / 1e9 for share in members],
            s=[12 + 120 * share.layer.microseconds / largest for share in members],
            color=color, marker=marker, alpha=0.7, linewidths=0, label=family, zorder=2,
        )  # fmt: skip
    axes.set(xlabel="multiply-accumulates per byte read or written", ylabel="billion multiply-accumulates per second")
    _logarithmic(axes, "x")
    _logarithmic(axes, "y")
    axes.grid(which="major", linewidth=0.5)
    figure.legend(loc="outside upper right", ncols=4, fontsize=9)
    return figure


def _family(share: LayerShare) -> str:
    """Return the precision of a layer; signed and unsigned 8-bit integers are one."""
    return _family_of(share.layer.precision)


def _family_of(precision: str) -> str:
    return "i8" if precision in ("i8", "u8") else precision


def _draw_rate_and_latency(
    label: str, numbers: Sequence[int], results: Sequence[BatchResult] | Sequence[MultiStream]
) -> Figure:
    """Draw the rate on the left and percentiles of latency on the right, over batches or streams."""
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(numbers, [result.images_per_second for result in results], "o-", color=ACCENT)
    left.set(ylabel="images per second", ylim=(0, None))
    _percentiles(right, numbers, [result.latency for result in results])
    for axes in (left, right):
        axes.set_xlabel(label)
        axes.grid(linewidth=0.6)
    return figure


def _percentiles(axes: Axes, xs: Sequence[int], latencies: Sequence[Distribution]) -> None:
    """Draw three percentiles of each latency."""
    for color, name in zip(SERIES, ("p50", "p90", "p99"), strict=False):
        axes.plot(xs, [getattr(latency, name).value for latency in latencies], "o-", ms=3.5, color=color, label=name)
    axes.set_ylabel("milliseconds")
    axes.legend(fontsize=8)


def _logarithmic(axes: Axes, side: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, with plain numbers: the pages disable mathtext, which powers of ten need."""
    axes.set(**{f"{side}scale": "log"})
    axis = axes.xaxis if side == "x" else axes.yaxis
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def _new_figure(height: float) -> tuple[Figure, Axes]:
    """Return a figure of `height` inches with one plot."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def _shorten(text: str) -> str:
    """Return the end of a name that is too long."""
    return text if len(text) <= NAME else f"…{text[1 - NAME :]}"
