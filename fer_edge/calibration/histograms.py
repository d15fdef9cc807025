"""Activation ranges: statistics over a calibration set, and the methods that choose a range from them.

Int8 activations are symmetric: the range of a tensor is one number, the magnitude that is quantised to 127. Larger
values are clipped. A smaller range clips more but quantises the rest more finely; the methods choose this trade-off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fer_edge.calibration.images import CalibrationImages
from fer_edge.choices import TENSOR_ENGINE, CalibrationMethod, LayerKind
from fer_edge.engines.base import Images
from fer_edge.errors import NonFiniteError
from fer_edge.evaluation.tensors import tensor_reader
from fer_edge.graph.ranges import DEFAULT_KINDS, LEVELS, Range, Ranges
from fer_edge.graph.typed_graph import TypedGraph, name_of
from fer_edge.progress import Advance, ignore

BINS = 4096  # of a histogram of magnitudes, from 0 to the peak
BATCH = 16  # images per batch; the moving average depends on it
DIGITS = 4  # significant digits of a range: enough for every engine, and equal on processors that round differently
MOMENTUM = 0.1  # weight of a new batch in the moving average
PERCENTILE = 99.99
CANDIDATES = 64  # clipping thresholds that entropy and MSE compare, from a sixteenth of the peak to the peak
Counts = npt.NDArray[np.float64]


@dataclass
class Statistics:
    """Statistics of one tensor."""

    low: float = np.inf  # smallest value
    high: float = -np.inf  # largest value
    peaks: list[float] = field(default_factory=list)  # largest magnitude of each batch
    histogram: Counts = field(default_factory=lambda: np.zeros(BINS))

    @property
    def peak(self) -> float:
        """Largest magnitude."""
        return max(self.peaks)


def measure(
    graph: TypedGraph,
    checkpoint: str,
    images: CalibrationImages,
    method: CalibrationMethod = "moving-average",
    layer_kinds: tuple[LayerKind, ...] = DEFAULT_KINDS,
    progress: Advance = ignore,
) -> Ranges:
    """Measure the range of every activation of the float deploy graph.

    Args:
        graph: The float deploy graph.
        checkpoint: SHA-256 of the checkpoint that it was exported from.
        images: Images of the calibration set.
        method: Method that chooses the magnitude of a tensor; `moving-average` by default.
        layer_kinds: Kinds of layers to quantise; conv and linear by default.
        progress: Callback that receives the number of images just finished, in each pass.

    Raises:
        NonFiniteError: NaN or infinity in a tensor.
    """
    statistics = observe(graph, lambda: images.batches(BATCH), method=method, progress=progress)
    ranges = {
        name: Range(_round(tensor.low), _round(tensor.high), _round(magnitude(tensor, method)))
        for name, tensor in statistics.items()
    }
    return Ranges(checkpoint, method, BATCH, images.set.summary(), ranges, layer_kinds)


def observe(
    graph: TypedGraph,
    batches: Callable[[], Iterable[Images]],
    *,
    method: CalibrationMethod,
    progress: Advance = ignore,
) -> dict[str, Statistics]:
    """Run the images through the float graph, a second time for the histograms of methods that need them.

    Args:
        graph: The float deploy graph.
        batches: Function that returns the batches of images, the same ones at each call.
        method: Method that the statistics are for.
        progress: Callback that receives the number of images just finished, in each pass.

    Returns:
        Statistics of each activation by its name.

    Raises:
        NonFiniteError: A tensor contains NaN or infinity; the message names the first in the graph's order.
    """
    statistics = {name_of(value): Statistics() for value in graph.activations()}
    reader = tensor_reader(TENSOR_ENGINE, graph, list(statistics))
    for images in batches():
        for name, values in reader.read(images).items():
            _add_range(statistics[name], name, values)
        progress(len(images))
    for images in batches() if passes(method) > 1 else ():
        for name, values in reader.read(images).items():
            _add_histogram(statistics[name], values)
        progress(len(images))
    return statistics


def passes(method: CalibrationMethod) -> int:
    """Return the number of passes over the images: histograms need the peak first."""
    return 1 if method in ("minmax", "moving-average") else 2


def magnitude(statistics: Statistics, method: CalibrationMethod) -> float:
    """Choose the magnitude that is quantised to 127."""
    if statistics.peak == 0:
        return 0.0
    return _METHODS[method](statistics)


def _add_range(statistics: Statistics, name: str, values: npt.NDArray[np.generic]) -> None:
    low, high = float(values.min()), float(values.max())  # NaN if any value is
    if not (math.isfinite(low) and math.isfinite(high)):
        raise NonFiniteError(
            f"tensor {name} is the first of the graph with NaN or infinity on the calibration images: the model's "
            "activations overflow, though its weights are finite; train it again with a lower learning rate or with "
            "gradient clipping, or use an earlier checkpoint"
        )
    statistics.low, statistics.high = min(statistics.low, low), max(statistics.high, high)
    statistics.peaks.append(max(abs(low), abs(high)))


def _add_histogram(statistics: Statistics, values: npt.NDArray[np.generic]) -> None:
    scale = BINS / statistics.peak if statistics.peak else 0.0
    bins = np.minimum((np.abs(values.ravel()) * scale).astype(np.int64), BINS - 1)
    statistics.histogram += np.bincount(bins, minlength=BINS)


def _round(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _moving_average(statistics: Statistics) -> float:
    average = statistics.peaks[0]
    for peak in statistics.peaks[1:]:
        average += MOMENTUM * (peak - average)
    return average


def _percentile(statistics: Statistics) -> float:
    below = np.cumsum(statistics.histogram) / statistics.histogram.sum()
    return statistics.peak * (int(np.searchsorted(below, PERCENTILE / 100)) + 1) / BINS


def _entropy(statistics: Statistics) -> float:
    """Minimise the Kullback-Leibler divergence between the clipped values and their 128 quantised levels.

    As in NVIDIA's calibrator (Migacz, GTC 2017), on magnitudes: values above the threshold count in the last bin.
    """
    return _best_threshold(statistics, lambda bins: _divergence(statistics.histogram, bins))


def _mse(statistics: Statistics) -> float:
    """Minimise the squared error of rounding below the threshold and clipping above it."""
    width = statistics.peak / BINS
    centres = (np.arange(BINS) + 0.5) * width

    def error(bins: int) -> float:
        step = bins * width / LEVELS
        levels = np.minimum(np.rint(centres / step), LEVELS) * step
        return float(statistics.histogram @ (centres - levels) ** 2)

    return _best_threshold(statistics, error)


def _best_threshold(statistics: Statistics, loss: Callable[[int], float]) -> float:
    """Return the clipping threshold of the least loss; `loss` receives the number of bins below a threshold."""
    candidates = np.unique(np.linspace(BINS // 16, BINS, CANDIDATES).round().astype(int))
    best = min((int(bins) for bins in candidates), key=loss)
    return statistics.peak * best / BINS


def _divergence(histogram: Counts, bins: int) -> float:
    """Return the divergence, in nats, of the clipped histogram from its quantised form.

    Args:
        histogram: Counts of magnitudes.
        bins: Number of bins below the clipping threshold.
    """
    inside = histogram[:bins].copy()
    reference = inside.copy()
    reference[-1] += histogram[bins:].sum()
    level = np.minimum(np.arange(bins) * (LEVELS + 1) // bins, LEVELS)
    occupied = inside > 0
    totals = np.bincount(level, weights=inside, minlength=LEVELS + 1)
    shared = np.bincount(level[occupied], minlength=LEVELS + 1)
    spread = np.where(occupied, (totals / np.maximum(shared, 1))[level], 0.0)
    if not spread.sum():
        return float("inf")
    p, q = reference / reference.sum(), spread / spread.sum()
    # A bin that contains only clipped values has no level of its own; the floor makes it expensive instead of infinite.
    where = p > 0
    return float((p[where] * np.log(p[where] / np.maximum(q[where], 1e-12))).sum())


_METHODS: dict[CalibrationMethod, Callable[[Statistics], float]] = {
    "minmax": lambda statistics: statistics.peak,
    "moving-average": _moving_average,
    "percentile": _percentile,
    "entropy": _entropy,
    "mse": _mse,
}
