"""Are scores right as often as they say? Reliability bins and calibration error (Guo et al., ICML 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_edge.engines.base import Floats
from fer_edge.evaluation.dataset import Labels

BINS = 15


@dataclass(frozen=True)
class ReliabilityBin:
    """Images whose score lies in one range. All figures from 0 to 1."""

    low: float
    high: float
    images: int
    confidence: float | None  # mean score; None: no such image
    accuracy: float | None  # share that is right


def reliability(probabilities: Floats, true: Labels, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """Bins of equal width over the score of the label decided for.

    Args:
        probabilities: (N, classes).
        true: (N,).
        bins: How many.
    """
    counts, confidence, right = _sums(probabilities, true, bins)
    return tuple(
        ReliabilityBin(
            round(index / bins, 4),
            round((index + 1) / bins, 4),
            int(count),
            round(float(confidence[index] / count), 4) if count else None,
            round(float(right[index] / count), 4) if count else None,
        )
        for index, count in enumerate(counts)
    )


def expected_calibration_error(probabilities: Floats, true: Labels, bins: int = BINS) -> float:
    """Mean distance of score and accuracy over the bins of `reliability`, weighted by their images; 0 to 1."""
    _, confidence, right = _sums(probabilities, true, bins)
    return float(np.abs(right - confidence).sum() / len(true))


def _sums(probabilities: Floats, true: Labels, bins: int) -> tuple[npt.NDArray[np.float64], ...]:
    """Images, scores and right decisions, summed in each bin."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == true
    bin_of = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    ones = np.ones(len(true))
    return tuple(np.bincount(bin_of, weights, bins).astype(np.float64) for weights in (ones, confidence, right))
