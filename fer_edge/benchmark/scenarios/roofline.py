"""Roofline: the share of the machine's peak that an engine reaches, layer by layer.

Peaks are measured with the engine's own best kernels on large operands, so neither a data sheet nor another library
sets the reference. The roof of a layer is the lower of its precision's peak and the rate at which main memory supplies
its operands (Williams, Waterman and Patterson, 2009). Layers whose operands stay in caches can exceed the memory roof.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from fer_edge.benchmark.drawing import Figure, Plot, logarithmic, new_figure
from fer_edge.benchmark.formatting import percent
from fer_edge.benchmark.rows import Row, rows_from_fields
from fer_edge.benchmark.scenario import Scenario, Session, Stamps
from fer_edge.engines.base import Runner, RunOptions
from fer_edge.engines.capabilities import INT8, Layer, Peak
from fer_edge.engines.registry import get_profiler
from fer_edge.errors import EngineError
from fer_edge.html.theme import ACCENT, FAINT, INK, LINE, SERIES
from fer_edge.results import Quantity, Table

PEAK_REPEATS = 40
LAYER_REPEATS = 100
LAYERS_SHOWN = 12
LAYERS_DRAWN = 24
NAME = 30  # characters of a layer name that fit into a plot
PRECISIONS = ("f32", "f16", "bf16", "i8", "u8")
TOLERANCE = 1.1  # share of the peak that counters with a resolution of 1 us can explain
LARGE = 1_000_000  # multiply-accumulates; smaller layers are too short for these counters


@dataclass(frozen=True)
class LayerShare:
    """A layer and its roof."""

    layer: Layer
    macs_per_second: Annotated[float, Quantity("rate", "MAC/s")]
    macs_per_byte: Annotated[float, Quantity("multiply-accumulates per byte")]
    peak: Annotated[float | None, Quantity("peak of its precision", "MAC/s")]  # None: not measured for this precision
    share_of_peak: Annotated[float | None, Quantity(unit="share")]
    share_of_roof: Annotated[float | None, Quantity(unit="share")]


@dataclass(frozen=True)
class KindShare:
    """All layers of one kind and precision."""

    kind: Annotated[str, Quantity(key="{}")]
    precision: Annotated[str, Quantity(key="{}")]
    layers: int
    milliseconds: Annotated[float, Quantity("time", "ms")]
    share_of_time: Annotated[float, Quantity(unit="share")]
    macs: Annotated[int, Quantity("multiply-accumulates")]
    share_of_peak: Annotated[float | None, Quantity(unit="share")]


@dataclass(frozen=True)
class Roofline:
    """Result of the roofline scenario, for one image."""

    peaks: list[Peak]
    layers: list[LayerShare]
    kinds: list[KindShare]  # slowest first
    milliseconds: Annotated[float, Quantity("time", "ms")]  # of all layers
    at_peak: Annotated[float, Quantity("time at the peaks", "ms")]  # of the same multiply-accumulates
    share_of_peak: Annotated[float, Quantity(unit="share")]
    macs_by_precision: Annotated[dict[str, float], Quantity("share of all multiply-accumulates", "share")]

    @property
    def disturbed(self) -> bool:
        """True if large layers exceed the peak of their precision, because other load slowed its measurement."""
        return any(
            share.share_of_peak is not None and share.share_of_peak > TOLERANCE and share.layer.macs > LARGE
            for share in self.layers
        )


def roofline_from_layers(peaks: list[Peak], layers: list[Layer]) -> Roofline:
    """Compare layers with peaks."""
    shares = [_share(layer, peaks) for layer in layers]
    total = sum(layer.microseconds for layer in layers)
    at_peak = sum(share.layer.macs / share.peak for share in shares if share.peak is not None) * 1e6
    macs: dict[str, int] = defaultdict(int)
    for layer in layers:
        macs[layer.precision] += layer.macs
    all_macs = max(1, sum(macs.values()))
    return Roofline(
        peaks=peaks,
        layers=shares,
        kinds=_kinds(shares, total),
        milliseconds=total / 1e3,
        at_peak=at_peak / 1e3,
        share_of_peak=at_peak / total,
        macs_by_precision={name: count / all_macs for name, count in macs.items() if count},
    )


def peak_for(precision: str, peaks: list[Peak]) -> float | None:
    """Return the multiply-accumulates per second of the fastest kernel of a precision; None if none was measured."""
    names = INT8 if precision in INT8 else (precision,)
    return max((peak.per_second for peak in peaks if peak.precision in names and peak.name != "memory"), default=None)


def bandwidth(peaks: list[Peak]) -> float:
    """Return the bytes per second of main memory."""
    return next(peak.per_second for peak in peaks if peak.name == "memory")


def _share(layer: Layer, peaks: list[Peak]) -> LayerShare:
    """Compare one layer with its peak and roof."""
    rate = layer.macs / max(layer.microseconds, 0.1) * 1e6
    intensity = layer.macs / max(layer.bytes, 1)
    peak = peak_for(layer.precision, peaks) if layer.macs else None
    if peak is None:
        return LayerShare(layer, rate, intensity, None, None, None)
    roof = min(peak, intensity * bandwidth(peaks))
    return LayerShare(layer, rate, intensity, peak, rate / peak, rate / roof)


def _kinds(shares: list[LayerShare], total: float) -> list[KindShare]:
    """Sum layers by kind and precision.

    Args:
        shares: All layers.
        total: Microseconds of all layers.
    """
    groups: dict[tuple[str, str], list[LayerShare]] = defaultdict(list)
    for share in shares:
        groups[share.layer.kind, share.layer.precision].append(share)
    kinds = []
    for (kind, precision), members in groups.items():
        spent = sum(member.layer.microseconds for member in members)
        ideal = sum(member.layer.macs / member.peak for member in members if member.peak is not None) * 1e6
        macs = sum(member.layer.macs for member in members)
        of_peak = ideal / spent if ideal else None
        kinds.append(KindShare(kind, precision, len(members), spent / 1e3, spent / total, macs, of_peak))
    return sorted(kinds, key=lambda kind: -kind.milliseconds)


class RooflineScenario(Scenario[Roofline]):
    """Layers compared with the machine's peaks."""

    title = "Roofline"
    about = (
        "In the first plot, larger marks take longer. The slope is the bandwidth of main memory; layers whose operands "
        "stay in caches can exceed it."
    )
    order = 70

    def unsupported_reason(self, engine: str, runner: Runner, device: int) -> str:
        try:
            get_profiler(engine)
        except EngineError as error:
            return str(error)
        return ""

    def run(self, session: Session) -> Roofline:
        bundle, profiler = session.bundle, get_profiler(session.engine)
        options = RunOptions(threads=session.options.threads)
        before = profiler.peaks(options, PEAK_REPEATS)
        session.progress(0.4)
        layers = profiler.layers(bundle.artifact(bundle.entry(session.engine)), options, LAYER_REPEATS)
        session.progress(0.6)
        after = profiler.peaks(options, PEAK_REPEATS)  # twice, so that a burst of other load does not lower the peak
        best = [max(pair, key=lambda peak: peak.per_second) for pair in zip(before, after, strict=True)]
        return roofline_from_layers(best, layers)

    def tables(self, result: Roofline) -> list[Table]:
        peaks = tuple(
            (peak.name, peak.kernel, f"{peak.per_second / 1e9:.1f}", "GB/s" if peak.name == "memory" else "GMAC/s")
            for peak in result.peaks
        )
        kinds = tuple(
            (kind.kind, kind.precision, kind.layers, f"{kind.milliseconds:.3f}", percent(kind.share_of_time),
             percent(kind.share_of_peak))
            for kind in result.kinds
        )  # fmt: skip
        slowest = sorted(result.layers, key=lambda share: -share.layer.microseconds)[:LAYERS_SHOWN]
        layers = tuple(
            (share.layer.name, share.layer.kernel, f"{share.layer.microseconds:.0f}",
             f"{share.macs_per_second / 1e9:.1f}", percent(share.share_of_peak))
            for share in slowest
        )  # fmt: skip
        return [
            Table("this machine's peaks, with the engine's own kernels", ("peak", "kernel", "measured", "unit"), peaks),
            Table("layers by kind", ("kind", "precision", "layers", "ms", "of the time", "of the peak"), kinds),
            Table("slowest layers", ("layer", "kernel", "us", "GMAC/s", "of the peak"), layers),
        ]

    def page_tables(self, result: Roofline) -> list[Table]:
        layers = tuple(
            (share.layer.name, share.layer.kind, share.layer.kernel, share.layer.precision,
             f"{share.layer.microseconds:.1f}", f"{share.layer.macs / 1e6:.2f}", f"{share.macs_per_second / 1e9:.1f}",
             percent(share.share_of_peak))
            for share in result.layers
        )  # fmt: skip
        columns = ("layer", "kind", "kernel", "precision", "µs", "MMAC", "GMAC/s", "of the peak")
        return [*self.tables(result)[:2], Table("all layers", columns, layers)]

    def notes(self, result: Roofline) -> list[str]:
        precisions = ", ".join(f"{name} {percent(share)}" for name, share in result.macs_by_precision.items())
        lines = [
            f"all layers take {result.milliseconds:.3f} ms; at the peaks their multiply-accumulates would take "
            f"{result.at_peak:.3f} ms: {percent(result.share_of_peak)} of the peak; "
            f"multiply-accumulates in {precisions}"
        ]
        if result.disturbed:
            lines.append(
                "layers ran faster than the peaks, whose measurement was disturbed: shares of the peak are too high"
            )
        return lines

    def rows(self, result: Roofline) -> list[Row]:
        rows = [
            Row(self.name, peak.name, "peak", "bytes/s" if peak.name == "memory" else "MAC/s", peak.per_second)
            for peak in result.peaks
        ]
        rows += rows_from_fields(self.name, "all layers", result, without=("peaks", "layers"))
        for share in result.layers:
            layer = share.layer
            rows.append(Row(self.name, layer.name, "time", "us", layer.microseconds))
            rows.append(Row(self.name, layer.name, "multiply-accumulates", "", layer.macs))
            rows += [
                Row(self.name, layer.name, "bytes", "", layer.bytes),
                *rows_from_fields(self.name, layer.name, share),
            ]
        return rows

    def plots(self, result: Roofline, stamps: Stamps | None) -> list[Plot]:
        if not any(share.layer.macs for share in result.layers):
            return []
        return [
            Plot(lambda: draw_roofline(result), "Rates of layers and roofs of the machine."),
            Plot(lambda: draw_layers(result), "The slowest layers."),
        ]

    def tiles(self, result: Roofline) -> list[tuple[str, str]]:
        return [("of the machine's peak", f"{100 * result.share_of_peak:.0f} %")]


def draw_layers(result: Roofline) -> Figure:
    """Draw the slowest layers, and the time of their multiply-accumulates at the peak."""
    slowest = sorted(result.layers, key=lambda share: -share.layer.microseconds)[:LAYERS_DRAWN]
    figure, axes = new_figure(0.9 + 0.2 * len(slowest))
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
    figure, axes = new_figure(4.2)
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
    logarithmic(axes, "x")
    logarithmic(axes, "y")
    axes.grid(which="major", linewidth=0.5)
    figure.legend(loc="outside upper right", ncols=4, fontsize=9)
    return figure


def _family(share: LayerShare) -> str:
    """Return the precision of a layer; signed and unsigned 8-bit integers are one."""
    return _family_of(share.layer.precision)


def _family_of(precision: str) -> str:
    return "i8" if precision in INT8 else precision


def _shorten(text: str) -> str:
    """Return the end of a name that is too long."""
    return text if len(text) <= NAME else f"…{text[1 - NAME :]}"


SCENARIO = RooflineScenario()
