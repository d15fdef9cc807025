"""Figures of a benchmark, each in the colours of a theme."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from fer_edge.benchmark.roofline import LayerShare, Roofline, bandwidth, peak_for
from fer_edge.benchmark.scenarios.batches import BatchResult
from fer_edge.benchmark.scenarios.cold_start import ColdStart
from fer_edge.benchmark.scenarios.multi_stream import MultiStream
from fer_edge.benchmark.scenarios.open_loop import OpenLoop
from fer_edge.benchmark.scenarios.scaling import ScalingPoint
from fer_edge.benchmark.scenarios.single_stream import SingleStream, Stamps
from fer_edge.benchmark.scenarios.sustained import Sustained
from fer_edge.benchmark.statistics import Distribution
from fer_edge.html.theme import Theme

WIDTH = 5.2  # inches; wider ones are hard to read on a phone
LAYERS = 24  # slowest ones that are drawn
NAME = 30  # characters that have room
DOTS = 20_000
LINES = ("-", "--", ":", "-.")
PRECISIONS = ("f32", "f16", "bf16", "i8", "u8")


def distribution(theme: Theme, latency: Distribution) -> Figure:
    """The histogram, with percentiles and their intervals."""
    figure, axes = _one(3.2)
    edges = latency.histogram.edges
    axes.stairs(latency.histogram.counts, edges, fill=True, color=theme.accent, alpha=0.85)
    top = axes.get_ylim()[1]
    for color, name in zip(theme.series[1:], ("p50", "p90", "p99"), strict=False):
        found = getattr(latency, name)
        right = edges[-1] if found.high is None else min(found.high, edges[-1])
        if found.low is not None:
            axes.axvspan(found.low, right, color=color, alpha=0.2, linewidth=0)
        if found.value <= edges[-1]:
            axes.axvline(found.value, color=color, linewidth=1.5, label=f"{name} {found.value:.2f}")
    axes.set(xlabel="milliseconds", ylabel="queries", xlim=(edges[0], edges[-1]), ylim=(0, top))
    figure.legend(loc="outside upper right", ncols=3, fontsize=9)
    return figure


def timeline(theme: Theme, stamps: Stamps, found: SingleStream) -> Figure:
    """Every query over the time at which it began."""
    figure, axes = _one(2.8)
    seconds = (stamps[:, 0] - stamps[0, 0]) / 1e9
    latency = (stamps[:, -1] - stamps[:, 0]) / 1e6
    step = -(-len(stamps) // DOTS)
    axes.scatter(seconds[::step], latency[::step], s=4, color=theme.accent, alpha=0.5, linewidths=0)
    if found.warm_up:
        axes.axvspan(0, seconds[found.warm_up], color=theme.line, alpha=0.6, linewidth=0, label="warm-up, left out")
    axes.axhline(found.latency.p90.value, color=theme.series[1], linewidth=1.2, label="90th percentile")
    top = max(found.latency.p99.value * 1.6, found.latency.p90.value * 2)
    above = int((latency > top).sum())
    axes.set(xlabel="seconds", ylabel="milliseconds", ylim=(0, top), xlim=(0, seconds[-1]))
    if above:
        axes.text(0.99, 0.97, f"{above} above", transform=axes.transAxes, ha="right", va="top", color=theme.faint)
    figure.legend(loc="outside upper right", ncols=2, fontsize=9)
    return figure


def batches(theme: Theme, results: Sequence[BatchResult]) -> Figure:
    """Rate and latency over the batch size."""
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = [one.batch for one in results]
    left.plot(sizes, [one.images_per_second for one in results], "o-", color=theme.accent)
    left.set(ylabel="images a second", ylim=(0, None))
    _percentiles(theme, right, sizes, [one.latency for one in results])
    _logarithmic(right, "y")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("batch")
        axes.grid(linewidth=0.6)
    return figure


def streams(theme: Theme, results: Sequence[MultiStream]) -> Figure:
    """Rate and latency over the number of streams."""
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    counts = [one.streams for one in results]
    left.plot(counts, [one.images_per_second for one in results], "o-", color=theme.accent)
    left.set(ylabel="images a second", ylim=(0, None))
    _percentiles(theme, right, counts, [one.latency for one in results])
    for axes in (left, right):
        axes.set_xticks(counts)
        axes.set_xlabel("streams")
        axes.grid(linewidth=0.6)
    return figure


def open_loop(theme: Theme, results: Sequence[OpenLoop]) -> Figure:
    """Latency at each rate, and when a frame is late."""
    figure, axes = _one(0.9 + 0.62 * len(results))
    names = ("p50", "p90", "p99")
    for row, one in enumerate(results):
        values = [getattr(one.latency, name).value for name in names]
        axes.plot(values, [row] * 3, color=theme.line, linewidth=3, zorder=1, solid_capstyle="round")
        for color, marker, name, value in zip(theme.series, "osD", names, values, strict=False):
            axes.scatter(value, row, s=36, color=color, marker=marker, zorder=2, label=name if row == 0 else None)
        deadline = 1000 / one.rate
        axes.plot([deadline] * 2, [row - 0.35, row + 0.35], color=theme.ink, linewidth=1.6)
        axes.text(deadline, row + 0.38, f"late after {deadline:.1f}", ha="center", va="top", fontsize=8)
    axes.set(xlabel="milliseconds since the frame was due", ylim=(len(results) - 0.4, -0.6), xlim=(0, None))
    axes.set_yticks(range(len(results)), [f"{one.rate:g} Hz" for one in results])
    axes.grid(axis="x", linewidth=0.6)
    figure.legend(loc="outside upper right", ncols=3, fontsize=9)
    return figure


def sustained(theme: Theme, found: Sustained) -> Figure:
    """Percentiles of each part of the long run."""
    figure, axes = _one(2.8)
    minutes = [window.start / 60 for window in found.windows]
    for color, name in zip(theme.series, ("p50", "p90"), strict=False):
        axes.plot(minutes, [getattr(window, name) for window in found.windows], "o-", ms=3.5, color=color, label=name)
    for window, minute in zip(found.windows, minutes, strict=True):
        if window.throttled:
            axes.axvline(minute, color=theme.series[1], linestyle=":", linewidth=1)
    axes.set(xlabel="minutes", ylabel="milliseconds", ylim=(0, None))
    axes.grid(linewidth=0.6)
    figure.legend(loc="outside upper right", ncols=2, fontsize=9)
    return figure


def scaling(theme: Theme, points: Sequence[ScalingPoint]) -> Figure:
    """Each combination: images a second over the 99th percentile; lines join the batches of one."""
    figure, axes = _one(3.6)
    settings = list(dict.fromkeys((point.threads, point.streams) for point in points))
    for index, (threads, streams) in enumerate(settings):
        members = [point for point in points if (point.threads, point.streams) == (threads, streams)]
        style = LINES[index // len(theme.series) % len(LINES)]
        axes.plot(
            [point.latency.p99.value for point in members], [point.images_per_second for point in members],
            style, marker="o", ms=3.5, linewidth=1.2, color=theme.series[index % len(theme.series)],
            label=f"threads {threads}, streams {streams}",
        )  # fmt: skip
    _logarithmic(axes, "x")
    axes.set(
        xlabel="p99 of a batch in the engine, milliseconds", ylabel="images a second of the engine", ylim=(0, None)
    )
    axes.grid(linewidth=0.6)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    return figure


def cold_start(theme: Theme, found: ColdStart) -> Figure:
    """The steps to the first result, one after the other."""
    figure, axes = _one(1.7)
    steps = {
        "Python": found.python.value,
        "imports": found.imports.value,
        "load": found.load.value,
        "first query": found.first_query.value,
    }
    begun = 0.0
    for color, (name, took) in zip(theme.series, steps.items(), strict=False):
        axes.barh(0, took, left=begun, color=color, height=0.5, label=f"{name} {took:.0f}")
        begun += took
    axes.set(yticks=[], xlabel="milliseconds since the process started", ylim=(-0.5, 0.5))
    axes.spines["left"].set_visible(False)
    figure.legend(loc="outside upper left", ncols=4, fontsize=9, handlelength=1)
    return figure


def layers(theme: Theme, found: Roofline) -> Figure:
    """The slowest layers, and how long their products would take at the peak."""
    slowest = sorted(found.layers, key=lambda share: -share.layer.microseconds)[:LAYERS]
    figure, axes = _one(0.9 + 0.2 * len(slowest))
    rows = range(len(slowest))
    axes.barh(rows, [one.layer.microseconds for one in slowest], color=theme.line, height=0.7, label="took")
    at_peak = [one.layer.macs / one.peak * 1e6 if one.peak else 0 for one in slowest]
    axes.barh(rows, at_peak, color=theme.accent, height=0.35, label="at the peak")
    axes.set_yticks(rows, [_shortened(one.layer.name) for one in slowest], fontsize=8)
    axes.set(xlabel="microseconds", ylim=(len(slowest) - 0.3, -0.7))
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper right", ncols=2, fontsize=9)
    return figure


def roofline(theme: Theme, found: Roofline) -> Figure:
    """Each layer's rate over what it does with a byte, below the roofs of memory and of each precision."""
    figure, axes = _one(4.2)
    drawn = [share for share in found.layers if share.layer.macs and share.layer.microseconds]
    xs = np.geomspace(min(0.1, *(share.macs_per_byte for share in drawn)), 1000, 100)
    speed = bandwidth(found.peaks)
    present = [name for name in PRECISIONS if any(_family(share) == _family_of(name) for share in drawn)]
    for precision in dict.fromkeys(map(_family_of, (*present, "f32", "i8"))):
        peak = peak_for(precision, found.peaks)
        if peak is not None:
            axes.plot(xs, np.minimum(peak, xs * speed) / 1e9, color=theme.faint, linewidth=1.2, zorder=1)
            axes.text(xs[-1], peak / 1e9 * 1.08, f"{precision} {peak / 1e9:.0f}", ha="right", color=theme.ink)
    largest = max(share.layer.microseconds for share in drawn)
    for color, marker, family in zip(theme.series, "osD^v", dict.fromkeys(map(_family, drawn)), strict=False):
        members = [share for share in drawn if _family(share) == family]
        axes.scatter(
            [share.macs_per_byte for share in members],
            [share.macs_per_second / 1e9 for share in members],
            s=[12 + 120 * share.layer.microseconds / largest for share in members],
            color=color, marker=marker, alpha=0.7, linewidths=0, label=family, zorder=2,
        )  # fmt: skip
    axes.set(xlabel="multiply-accumulates per byte read or written", ylabel="billion of them a second")
    _logarithmic(axes, "x")
    _logarithmic(axes, "y")
    axes.grid(which="major", linewidth=0.5)
    figure.legend(loc="outside upper right", ncols=4, fontsize=9)
    return figure


def _family(share: LayerShare) -> str:
    return _family_of(share.layer.precision)


def _family_of(precision: str) -> str:
    return "i8" if precision in ("i8", "u8") else precision


def _percentiles(theme: Theme, axes: Axes, xs: Sequence[int], latencies: Sequence[Distribution]) -> None:
    for color, name in zip(theme.series, ("p50", "p90", "p99"), strict=False):
        axes.plot(xs, [getattr(one, name).value for one in latencies], "o-", ms=3.5, color=color, label=name)
    axes.set_ylabel("milliseconds")
    axes.legend(fontsize=8)


def _logarithmic(axes: Axes, side: Literal["x", "y"]) -> None:
    """Powers of ten as plain numbers: text of pictures knows no mathematics."""
    axes.set(**{f"{side}scale": "log"})
    axis = axes.xaxis if side == "x" else axes.yaxis
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def _one(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def _shortened(text: str) -> str:
    return text if len(text) <= NAME else f"…{text[1 - NAME :]}"
