"""Statistics of activations over a calibration set, and the range that a method makes of them.

Int8 activations are symmetric: a tensor's range is one number, the magnitude that becomes 127. What lies beyond is
clipped; the finer the rest, the closer the bulk. Methods differ in where they cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from fer_edge.engines.base import Images
from fer_edge.errors import NonFiniteError
from fer_edge.evaluation.tensors import ONNXRuntimeTensors

Method = Literal["minmax", "moving-average", "percentile", "entropy", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)
BINS = 4096  # of a histogram of magnitudes, from 0 to the largest seen
LEVELS = 127  # magnitudes that int8 has on one side
MOMENTUM = 0.1  # weight of a new batch in the moving average
PERCENTILE = 99.99
CANDIDATES = 64  # cuts that entropy and MSE try, from a sixteenth of the largest magnitude to all of it
Counts = npt.NDArray[np.float64]


@dataclass
class Statistics:
    """What was seen of one tensor."""

    low: float = np.inf
    high: float = -np.inf
    peaks: list[float] = field(default_factory=list)  # largest magnitude of each batch
    histogram: Counts = field(default_factory=lambda: np.zeros(BINS))

    @property
    def peak(self) -> float:
        """Largest magnitude seen."""
        return max(self.peaks)


def observe(
    model: bytes,
    batches: Callable[[], Iterable[Images]],
    tensors: Sequence[str],
    *,
    method: Method,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Statistics]:
    """Run the images through the float graph, once for ranges and once more for histograms where a method needs them.

    Args:
        model: The float deploy graph.
        batches: Gives the images, the same ones each time it is called.
        tensors: Which to look at.
        method: What the statistics are for.
        progress: Told how many images are done, in each pass.

    Raises:
        NonFiniteError: A tensor holds NaN or infinity; the first in the graph's order is named.
    """
    reader = ONNXRuntimeTensors(model, tensors)
    found = {name: Statistics() for name in tensors}
    for images in batches():
        for name, values in reader.read(images).items():
            low, high = float(values.min()), float(values.max())  # NaN if any value is
            if not (math.isfinite(low) and math.isfinite(high)):
                raise NonFiniteError(
                    f"tensor {name} holds NaN or infinity on the calibration images, the first one of the graph: the "
                    "model's activations overflow, though its weights are finite; train it again with a lower learning "
                    "rate or with gradient clipping, or take an earlier checkpoint"
                )
            seen = found[name]
            seen.low, seen.high = min(seen.low, low), max(seen.high, high)
            seen.peaks.append(max(abs(low), abs(high)))
        if progress is not None:
            progress(len(images))
    for images in batches() if passes(method) > 1 else ():
        for name, values in reader.read(images).items():
            scale = BINS / found[name].peak if found[name].peak else 0.0
            bins = np.minimum((np.abs(values.ravel()) * scale).astype(np.int64), BINS - 1)
            found[name].histogram += np.bincount(bins, minlength=BINS)
        if progress is not None:
            progress(len(images))
    return found


def passes(method: Method) -> int:
    """How often the images are run: histograms need the largest magnitude first."""
    return 1 if method in ("minmax", "moving-average") else 2


def magnitude(seen: Statistics, method: Method) -> float:
    """The magnitude that becomes 127."""
    if seen.peak == 0:
        return 0.0
    return _CUTS[method](seen)


def _moving_average(seen: Statistics) -> float:
    average = seen.peaks[0]
    for peak in seen.peaks[1:]:
        average += MOMENTUM * (peak - average)
    return average


def _percentile(seen: Statistics) -> float:
    below = np.cumsum(seen.histogram) / seen.histogram.sum()
    return seen.peak * (int(np.searchsorted(below, PERCENTILE / 100)) + 1) / BINS


def _entropy(seen: Statistics) -> float:
    """Least Kullback-Leibler divergence between the values, clipped, and what 128 levels leave of them.

    As in NVIDIA's calibrator (Migacz, GTC 2017), on magnitudes: values beyond the cut are counted into the last bin.
    """
    return _best_cut(seen, lambda cut: _divergence(seen.histogram, cut))


def _mse(seen: Statistics) -> float:
    """Least squared error of rounding within the range and clipping beyond it."""
    width = seen.peak / BINS
    centres = (np.arange(BINS) + 0.5) * width

    def error(cut: int) -> float:
        step = cut * width / LEVELS
        levels = np.minimum(np.rint(centres / step), LEVELS) * step
        return float(seen.histogram @ (centres - levels) ** 2)

    return _best_cut(seen, error)


def _best_cut(seen: Statistics, loss: Callable[[int], float]) -> float:
    cuts = np.unique(np.linspace(BINS // 16, BINS, CANDIDATES).round().astype(int))
    best = min((int(cut) for cut in cuts), key=loss)
    return seen.peak * best / BINS


def _divergence(histogram: Counts, cut: int) -> float:
    kept = histogram[:cut].copy()
    reference = kept.copy()
    reference[-1] += histogram[cut:].sum()
    level = np.minimum(np.arange(cut) * (LEVELS + 1) // cut, LEVELS)
    occupied = kept > 0
    totals = np.bincount(level, weights=kept, minlength=LEVELS + 1)
    shared = np.bincount(level[occupied], minlength=LEVELS + 1)
    spread = np.where(occupied, (totals / np.maximum(shared, 1))[level], 0.0)
    if not spread.sum():
        return float("inf")
    p, q = reference / reference.sum(), spread / spread.sum()
    # A bin that only holds clipped values has no level of its own: it costs as if nearly empty.
    where = p > 0
    return float((p[where] * np.log(p[where] / np.maximum(q[where], 1e-12))).sum())


_CUTS: dict[Method, Callable[[Statistics], float]] = {
    "minmax": lambda seen: seen.peak,
    "moving-average": _moving_average,
    "percentile": _percentile,
    "entropy": _entropy,
    "mse": _mse,
}
