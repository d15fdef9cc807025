"""Confidence intervals of shares."""

from __future__ import annotations

import math
from dataclasses import dataclass

Z95 = 1.959963984540054  # standard normal quantile of a two-sided 95 % interval


@dataclass(frozen=True)
class Interval:
    """Bounds of a 95 % confidence interval, in percent."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.1f} to {self.high:.1f} %"


def wilson(share: float, count: int) -> Interval:
    """95 % interval of a share by Wilson's score method, which holds near 0 and 100 % and for few images too.

    Args:
        share: Observed share, from 0 to 1.
        count: Number of images that it is of, at least 1.
    """
    spread = Z95 * Z95 / count
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    return Interval(round(100 * max(0.0, centre - half), 3), round(100 * min(1.0, centre + half), 3))
