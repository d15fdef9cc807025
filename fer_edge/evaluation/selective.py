"""Selective classification: coverage and accuracy of a model that abstains on uncertain images.

Each abstention rule is one point of the risk-coverage curve (El-Yaniv and Wiener, JMLR 2010). Comparing "the heads
disagree" with a score threshold of equal coverage shows which of the two finds more errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_edge.engines.base import Floats

SHARES = (5, 10, 20)  # images to abstain on, those with the lowest scores, in percent


@dataclass(frozen=True)
class SelectiveScore:
    """Coverage and accuracy under one abstention rule, in percent."""

    rule: str  # images on which the model abstains: "heads disagree"
    coverage: float  # share of images that the model classifies
    accuracy: float | None  # of the classified images: 100 minus the selective risk; None: no such image
    accuracy_abstained: float | None  # of the other images, if they were classified too; None: no such image


def selective_scores(
    probabilities: Floats, correct: npt.NDArray[np.bool_], heads_agree: npt.NDArray[np.bool_] | None
) -> tuple[SelectiveScore, ...]:
    """Measure every abstention rule.

    Args:
        probabilities: Outputs, (N, classes).
        correct: Whether the top-1 label is the true one, (N,).
        heads_agree: Whether both heads predict the same label, (N,); None for a model with one head.
    """
    by_score = np.argsort(probabilities.max(axis=1), kind="stable")

    def lowest_scores(count: int) -> npt.NDArray[np.bool_]:
        abstained = np.zeros(len(correct), np.bool_)
        abstained[by_score[:count]] = True
        return abstained

    rules = []
    if heads_agree is not None:
        disagreements = int((~heads_agree).sum())
        rules += [("heads disagree", ~heads_agree), ("equal number, lowest scores", lowest_scores(disagreements))]
    rules += [(f"lowest {share} % of scores", lowest_scores(round(len(correct) * share / 100))) for share in SHARES]
    return tuple(
        SelectiveScore(
            rule, percent(~abstained), percent_or_none(correct[~abstained]), percent_or_none(correct[abstained])
        )
        for rule, abstained in rules
    )


def percent(values: npt.NDArray[np.bool_]) -> float:
    """Return the share of true values, in percent."""
    return round(100 * float(values.mean()), 3)


def percent_or_none(values: npt.NDArray[np.bool_]) -> float | None:
    """Return the share of true values, in percent; None for an empty array."""
    return percent(values) if len(values) else None
