"""Which images to leave to a person, and how right the model is on the rest (selective classification).

Two heads that disagree mark a face as ambiguous; whether that says more than a low score does is measured here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_edge.engines.base import Floats

SHARES = (5, 10, 20)  # percent of images, the least confident ones


@dataclass(frozen=True)
class Deferral:
    """One rule and what it gives, in percent."""

    rule: str
    deferred: float  # share of images
    accuracy_kept: float | None  # None: none kept
    accuracy_deferred: float | None


def deferrals(
    probabilities: Floats, right: npt.NDArray[np.bool_], agree: npt.NDArray[np.bool_] | None
) -> tuple[Deferral, ...]:
    """What each rule gives.

    Args:
        probabilities: (N, classes).
        right: (N,), whether the label decided for is the true one.
        agree: (N,), whether both heads decide alike; None: there is one head.
    """
    by_score = np.argsort(probabilities.max(axis=1), kind="stable")

    def least_confident(count: int) -> npt.NDArray[np.bool_]:
        chosen = np.zeros(len(right), np.bool_)
        chosen[by_score[:count]] = True
        return chosen

    rules = []
    if agree is not None:
        rules += [("heads disagree", ~agree), ("as many, by lowest score", least_confident(int((~agree).sum())))]
    rules += [(f"lowest {share} % of scores", least_confident(round(len(right) * share / 100))) for share in SHARES]
    return tuple(
        Deferral(rule, percent(chosen), percent_or_none(right[~chosen]), percent_or_none(right[chosen]))
        for rule, chosen in rules
    )


def percent(right: npt.NDArray[np.bool_]) -> float:
    """Share that is true, in percent."""
    return round(100 * float(right.mean()), 3)


def percent_or_none(right: npt.NDArray[np.bool_]) -> float | None:
    """The same; None of nothing."""
    return percent(right) if len(right) else None
