"""Confidence intervals of proportions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Z95 = 1.959963984540054  # standard normal quantile of a two-sided 95 % interval


@dataclass(frozen=True)
class Interval:
    """Bounds of a 95 % confidence interval, in percent."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.1f} to {self.high:.1f} %"


def wilson(share: float, count: int) -> Interval:
    """Return the 95 % interval of a proportion by Wilson's score method.

    It is valid near 0 and 100 %, and for few images.

    Args:
        share: Observed proportion, from 0 to 1.
        count: Number of images, at least 1.
    """
    spread = Z95 * Z95 / count
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    return Interval(round(100 * max(0.0, centre - half), 3), round(100 * min(1.0, centre + half), 3))


def mean_of_shares(shares: Sequence[tuple[float, int]]) -> Interval:
    """Return the 95 % interval of the mean of independent proportions (MOVER, Zou and Donner, 2008).

    Args:
        shares: Each proportion, from 0 to 1, and its number of images.
    """
    bounds = [(100 * share, wilson(share, count)) for share, count in shares]
    mean = sum(value for value, _ in bounds) / len(bounds)
    below = math.hypot(*(value - bound.low for value, bound in bounds)) / len(bounds)
    above = math.hypot(*(bound.high - value for value, bound in bounds)) / len(bounds)
    return Interval(round(max(0.0, mean - below), 3), round(min(100.0, mean + above), 3))


def interval_of_mean(shares: npt.NDArray[np.float64]) -> Interval:
    """Return the 95 % interval of a mean of independent shares, by the normal approximation.

    Args:
        shares: Share of each image, from 0 to 1, (N,).
    """
    if len(shares) < 2:
        return Interval(0.0, 100.0)
    mean, half = float(shares.mean()), Z95 * float(shares.std(ddof=1)) / math.sqrt(len(shares))
    return Interval(round(100 * max(0.0, mean - half), 3), round(100 * min(1.0, mean + half), 3))
