"""Reliability diagrams and expected calibration error (Guo et al., ICML 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_edge.data.images import Labels
from fer_edge.engines.base import Floats

BINS = 15


@dataclass(frozen=True)
class ReliabilityBin:
    """Images whose score is in one range. All values are from 0 to 1."""

    low: float
    high: float
    images: int
    confidence: float | None  # mean score; None: empty bin
    accuracy: float | None  # None: empty bin


def reliability(probabilities: Floats, true: Labels, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """Sort images into bins of equal width by the score of their top-1 label.

    Args:
        probabilities: Outputs, (N, classes).
        true: True labels, (N,).
        bins: Number of bins; 15 by default.
    """
    counts, confidence, correct = _bin_sums(probabilities, true, bins)
    return tuple(
        ReliabilityBin(
            round(index / bins, 4),
            round((index + 1) / bins, 4),
            int(count),
            round(float(confidence[index] / count), 4) if count else None,
            round(float(correct[index] / count), 4) if count else None,
        )
        for index, count in enumerate(counts)
    )


def expected_calibration_error(probabilities: Floats, true: Labels, bins: int = BINS) -> float:
    """Return the mean distance between score and accuracy over the bins, weighted by their images; 0 to 1.

    Args:
        probabilities: Outputs, (N, classes).
        true: True labels, (N,).
        bins: Number of bins; 15 by default.
    """
    _, confidence, correct = _bin_sums(probabilities, true, bins)
    return float(np.abs(correct - confidence).sum() / len(true))


def _bin_sums(probabilities: Floats, true: Labels, bins: int) -> tuple[npt.NDArray[np.float64], ...]:
    """Return the number of images, the sum of scores and the number of correct images of each bin."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == true
    bin_of = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    ones = np.ones(len(true))
    return tuple(np.bincount(bin_of, weights, bins).astype(np.float64) for weights in (ones, confidence, correct))
