"""Valence and arousal, derived from the probabilities of labels; neither is measured.

The coordinates of a label are ratings of its word by people who read it, not ratings of faces: Warriner, Kuperman and
Brysbaert, "Norms of valence, arousal, and dominance for 13,915 English lemmas", Behavior Research Methods 45 (2013),
1191-1207, https://doi.org/10.3758/s13428-012-0314-x.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from fer_edge.labels import canonical

# Mean valence and mean arousal of the label's word in the table of the publication, on scales from 1 to 9.
RATINGS = {
    "neutral": (5.50, 3.45),
    "happiness": (8.48, 6.50),
    "surprise": (7.44, 6.57),
    "sadness": (2.40, 2.81),
    "anger": (2.50, 5.93),
    "disgust": (3.32, 5.00),
    "fear": (2.93, 6.14),
    "contempt": (3.22, 4.61),
}
MIDDLE, HALF_RANGE = 5.0, 4.0  # of the scales from 1 to 9


class Circumplex(NamedTuple):
    """Point in the plane of valence and arousal.

    It is derived from the probabilities of the labels, not measured: it contains nothing that these do not.

    Attributes:
        valence: Pleasantness, -1 to 1. With the coordinates of the labels, -0.65 (sadness) to 0.87 (happiness).
        arousal: Activation, -1 to 1. With the coordinates of the labels, -0.55 (sadness) to 0.39 (surprise).
    """

    valence: float
    arousal: float


def circumplex(scores: Mapping[str, float]) -> Circumplex | None:
    """Return the mean of the labels' coordinates, weighted by their probabilities.

    Args:
        scores: Probability by label; they sum to 1.

    Returns:
        The mean; None if a label has no coordinates.
    """
    points = _coordinates(tuple(scores))
    if points is None:
        return None
    valence = sum(score * point.valence for score, point in zip(scores.values(), points, strict=True))
    arousal = sum(score * point.arousal for score, point in zip(scores.values(), points, strict=True))
    return Circumplex(valence, arousal)


@lru_cache
def _coordinates(labels: tuple[str, ...]) -> tuple[Circumplex, ...] | None:
    """Return the coordinates of each label, -1 to 1; None if one has none."""
    ratings = [RATINGS.get(canonical(label)) for label in labels]
    if not ratings or None in ratings:
        return None
    return tuple(Circumplex(*((mean - MIDDLE) / HALF_RANGE for mean in means)) for means in ratings if means)
