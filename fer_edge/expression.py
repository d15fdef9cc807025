"""Expression of one face: the result of a recognizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fer_edge.circumplex import Circumplex, circumplex
from fer_edge.document import expression_data
from fer_edge.quality import MIN_SCORE, FaceQuality

UNSURE = "unsure"  # shown in place of a label that is not certain


@dataclass(frozen=True)
class Expression:
    """Expression of one face.

    Attributes:
        label: Label with the highest probability.
        score: Probability of `label`, 0 to 1. It is calibrated for whole, sharp faces that are at least 24 pixels wide
            and is meaningless for other images, such as one without a face: see `warning`.
        scores: Probability by label, in the order of the model's labels; they sum to 1.
        warning: Reasons not to trust the label: "face of 10 x 10 pixels; below 24 the label is often wrong", "no
            contrast: there may be no face" and others (limits: `fer_edge.quality`). Empty without one. An image of
            another object than a face is not detected in a box or crop; `FaceDetector` finds no face in it.
        quality: What was measured on the face and its crop; None for a prediction without frame.
        min_score: Score below which the label is not certain, 0.58 by default. A tracker uses 0.53 or 0.63, so that
            `certain` does not flicker.
        model_hash: SHA-256 of the model, `model.onnx` in the bundle; empty without a bundle.
    """

    label: str
    score: float
    scores: dict[str, float]
    warning: str = ""
    quality: FaceQuality | None = None
    min_score: float = MIN_SCORE
    model_hash: str = ""

    @property
    def certain(self) -> bool:
        """True if there is no warning and the score is high enough."""
        return self.score >= self.min_score and not self.warning

    @property
    def display_label(self) -> str:
        """Label to show: `label`, or "unsure" if it is not certain."""
        return self.label if self.certain else UNSURE

    @property
    def circumplex(self) -> Circumplex | None:
        """Valence and arousal, derived from `scores` and not measured; None if a label has no published coordinates."""
        return circumplex(self.scores)

    def to_dict(self) -> dict[str, Any]:
        """Return the expression as in the result document."""
        return expression_data(self)

    def __repr__(self) -> str:
        scores = ", ".join(f"{label!r}: {score:.3f}" for label, score in self.scores.items())
        warning = f", warning={self.warning!r}" if self.warning else ""
        return f"Expression(label={self.label!r}, score={self.score:.3f}, scores={{{scores}}}{warning})"
