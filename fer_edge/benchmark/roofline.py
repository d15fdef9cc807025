"""What share of the machine's own peak an engine reaches, layer by layer.

Peaks are the engine's own best kernels on large operands, run just before, so that neither a data sheet nor another
library's kernels set the mark. A layer's roof is the lower of its precision's peak and what memory could feed it
(Williams, Waterman and Patterson, 2009). That roof is main memory's: layers whose operands stay in caches can pass it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from fer_edge.bundle import Bundle
from fer_edge.engines.base import RunOptions
from fer_edge.engines.profiling import INT8, Layer, Peak
from fer_edge.engines.registry import get_profiler

PEAK_REPEATS = 40
LAYER_REPEATS = 100
PASSED = 1.1  # times the peak, which counters of whole microseconds do not explain
LARGE = 1_000_000  # multiply-accumulates of a layer, below which they may


@dataclass(frozen=True)
class LayerShare:
    """A layer beside its roof."""

    layer: Layer
    macs_per_second: float
    macs_per_byte: float
    peak: float | None  # multiply-accumulates a second at its precision; None: no such peak was measured
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
    """An engine beside the machine's limits, for one image."""

    peaks: list[Peak]
    layers: list[LayerShare]
    kinds: list[KindShare]  # the slowest first
    milliseconds: float  # of all layers
    at_peak: float  # milliseconds that the same products would take at their peaks
    share_of_peak: float
    macs_by_precision: dict[str, float]  # share of all

    @property
    def disturbed(self) -> bool:
        """Whether large layers passed the peak of their precision: it was measured while the machine was busy."""
        return any(
            share.share_of_peak is not None and share.share_of_peak > PASSED and share.layer.macs > LARGE
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

    Raises:
        EngineError: The engine does not tell what its layers take.
    """
    entry = bundle.entry(engine)
    profiler = get_profiler(entry.engine)
    options = RunOptions(threads=threads)
    before = profiler.peaks(options, PEAK_REPEATS)
    progress(0.4)
    layers = profiler.layers(bundle.artifact(entry), options, repeats)
    progress(0.6)
    after = profiler.peaks(options, PEAK_REPEATS)  # a neighbour's burst of work must not lower the mark
    best = [max(pair, key=lambda peak: peak.per_second) for pair in zip(before, after, strict=True)]
    return roofline_from_layers(best, layers)


def roofline_from_layers(peaks: list[Peak], layers: list[Layer]) -> Roofline:
    """Set layers beside peaks."""
    shares = [_share(layer, peaks) for layer in layers]
    total = sum(layer.microseconds for layer in layers)
    at_peak = sum(share.layer.macs / share.peak for share in shares if share.peak is not None) * 1e6
    macs: dict[str, int] = defaultdict(int)
    for layer in layers:
        macs[layer.precision] += layer.macs
    whole = max(1, sum(macs.values()))
    return Roofline(
        peaks=peaks,
        layers=shares,
        kinds=_kinds(shares, total),
        milliseconds=total / 1e3,
        at_peak=at_peak / 1e3,
        share_of_peak=at_peak / total,
        macs_by_precision={name: count / whole for name, count in macs.items() if count},
    )


def peak_for(precision: str, peaks: list[Peak]) -> float | None:
    """Multiply-accumulates a second of the fastest kernel of that precision."""
    wanted = INT8 if precision in INT8 else (precision,)
    return max((peak.per_second for peak in peaks if peak.precision in wanted and peak.name != "memory"), default=None)


def bandwidth(peaks: list[Peak]) -> float:
    """Bytes a second of main memory."""
    return next(peak.per_second for peak in peaks if peak.name == "memory")


def _share(layer: Layer, peaks: list[Peak]) -> LayerShare:
    rate = layer.macs / max(layer.microseconds, 0.1) * 1e6
    intensity = layer.macs / max(layer.bytes, 1)
    peak = peak_for(layer.precision, peaks) if layer.macs else None
    if peak is None:
        return LayerShare(layer, rate, intensity, None, None, None)
    roof = min(peak, intensity * bandwidth(peaks))
    return LayerShare(layer, rate, intensity, peak, rate / peak, rate / roof)


def _kinds(shares: list[LayerShare], total: float) -> list[KindShare]:
    groups: dict[tuple[str, str], list[LayerShare]] = defaultdict(list)
    for share in shares:
        groups[share.layer.kind, share.layer.precision].append(share)
    found = []
    for (kind, precision), members in groups.items():
        spent = sum(member.layer.microseconds for member in members)
        ideal = sum(member.layer.macs / member.peak for member in members if member.peak is not None) * 1e6
        macs = sum(member.layer.macs for member in members)
        of_peak = ideal / spent if ideal else None
        found.append(KindShare(kind, precision, len(members), spent / 1e3, spent / total, macs, of_peak))
    return sorted(found, key=lambda kind: -kind.milliseconds)
