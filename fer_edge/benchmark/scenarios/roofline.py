"""Roofline: the share of the machine's peak that an engine reaches, layer by layer.

Peaks are measured with the engine's own best kernels on large operands, so neither a data sheet nor another library
sets the reference. The roof of a layer is the lower of its precision's peak and the rate at which main memory supplies
its operands (Williams, Waterman and Patterson, 2009). Layers whose operands stay in caches can exceed the memory roof.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from fer_edge.benchmark.formatting import percent
from fer_edge.bundle import Bundle
from fer_edge.engines.base import RunOptions
from fer_edge.engines.capabilities import INT8, Layer, Peak
from fer_edge.engines.registry import get_profiler
from fer_edge.results import Table

PEAK_REPEATS = 40
LAYER_REPEATS = 100
LAYERS_SHOWN = 12
TOLERANCE = 1.1  # share of the peak that counters with a resolution of 1 us can explain
LARGE = 1_000_000  # multiply-accumulates; smaller layers are too short for these counters


@dataclass(frozen=True)
class LayerShare:
    """A layer and its roof."""

    layer: Layer
    macs_per_second: float
    macs_per_byte: float
    peak: float | None  # multiply-accumulates per second at its precision; None: not measured for this precision
    share_of_peak: float | None
    share_of_roof: float | None


@dataclass(frozen=True)
class KindShare:
    """All layers of one kind and precision."""

    kind: str
    precision: str
    layers: int
    milliseconds: float
    share_of_time: float
    macs: int
    share_of_peak: float | None


@dataclass(frozen=True)
class Roofline:
    """Result of the roofline scenario, for one image."""

    peaks: list[Peak]
    layers: list[LayerShare]
    kinds: list[KindShare]  # slowest first
    milliseconds: float  # time of all layers
    at_peak: float  # milliseconds of the same multiply-accumulates at their peaks
    share_of_peak: float
    macs_by_precision: dict[str, float]  # share of all multiply-accumulates

    @property
    def disturbed(self) -> bool:
        """True if large layers exceed the peak of their precision, because other load slowed its measurement."""
        return any(
            share.share_of_peak is not None and share.share_of_peak > TOLERANCE and share.layer.macs > LARGE
            for share in self.layers
        )


def measure_roofline(
    bundle: Bundle,
    engine: str | None,
    threads: int | None,
    *,
    repeats: int = LAYER_REPEATS,
    progress: Callable[[float], None] = lambda share: None,
) -> Roofline:
    """Measure peaks and layers.

    Args:
        bundle: Bundle to measure.
        engine: Engine of the bundle; None: its first.
        threads: Number of CPU threads; None: the engine's choice.
        repeats: Number of timed inferences.
        progress: Callback that receives the finished share, 0 to 1.

    Raises:
        EngineError: Engine that does not report the time of its layers.
    """
    entry = bundle.entry(engine)
    profiler = get_profiler(entry.engine)
    options = RunOptions(threads=threads)
    before = profiler.peaks(options, PEAK_REPEATS)
    progress(0.4)
    layers = profiler.layers(bundle.artifact(entry), options, repeats)
    progress(0.6)
    after = profiler.peaks(options, PEAK_REPEATS)  # twice, so that a burst of other load does not lower the peak
    best = [max(pair, key=lambda peak: peak.per_second) for pair in zip(before, after, strict=True)]
    return roofline_from_layers(best, layers)


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


def tables(result: Roofline) -> list[Table]:
    """Return peaks, kinds of layers and the slowest layers."""
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
        (share.layer.name, share.layer.kernel, f"{share.layer.microseconds:.0f}", f"{share.macs_per_second / 1e9:.1f}",
         percent(share.share_of_peak))
        for share in slowest
    )  # fmt: skip
    return [
        Table("this machine's peaks, with the engine's own kernels", ("peak", "kernel", "measured", "unit"), peaks),
        Table("layers by kind", ("kind", "precision", "layers", "ms", "of the time", "of the peak"), kinds),
        Table("slowest layers", ("layer", "kernel", "us", "GMAC/s", "of the peak"), layers),
    ]


def notes(result: Roofline) -> list[str]:
    """Return the share of the peak."""
    precisions = ", ".join(f"{name} {percent(share)}" for name, share in result.macs_by_precision.items())
    lines = [
        f"all layers take {result.milliseconds:.3f} ms; at the peaks their multiply-accumulates would take "
        f"{result.at_peak:.3f} ms: {percent(result.share_of_peak)} of the peak; multiply-accumulates in {precisions}"
    ]
    if result.disturbed:
        lines.append(
            "layers ran faster than the peaks, whose measurement was disturbed: shares of the peak are too high"
        )
    return lines
