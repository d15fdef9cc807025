"""Expressions as messages: hri_msgs/Expression, and the probabilities of all labels."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hri_msgs.msg import Expression as ExpressionMessage
from std_msgs.msg import Float32MultiArray, Header, MultiArrayDimension

from fer_edge import Expression
from fer_edge.errors import ConfigError
from fer_edge.labels import canonical

# Name of the constant of hri_msgs/Expression by label. A label without one in the installed hri_msgs is unlisted.
CONSTANTS = {
    "neutral": "NEUTRAL",
    "happiness": "HAPPY",
    "surprise": "SURPRISED",
    "sadness": "SAD",
    "anger": "ANGRY",
    "disgust": "DISGUSTED",
    "fear": "SCARED",
    "contempt": "CONTEMPT",  # not in hri_msgs 2
}
NEXT_BEST, PUBLISH = "next-best", "publish"
DERIVED, ZERO, NAN = "derived", "zero", "nan"
UNLISTED_LABELS = (NEXT_BEST, PUBLISH)
VALENCE_AROUSAL = (DERIVED, ZERO, NAN)


class MessageWriter:
    """Converter of expressions to messages.

    Args:
        labels: Labels of the model.
        unlisted_labels: Treatment of labels without a constant in hri_msgs/Expression, such as contempt: "next-best"
            publishes the most probable label with a constant, and its probability; "publish" the label itself.
        valence_arousal: Source of valence and arousal: "derived" from the probabilities, "zero" or "nan".

    Raises:
        ConfigError: No label has a constant, so that there is no next best.
    """

    def __init__(self, labels: Sequence[str], *, unlisted_labels: str, valence_arousal: str) -> None:
        self._names = {label: name for label in labels if (name := constant(label)) is not None}
        if not self._names and unlisted_labels == NEXT_BEST:
            raise ConfigError(
                f"hri_msgs/Expression lists none of the labels {', '.join(labels)}: set unlisted_labels to publish"
            )
        self._is_next_best = unlisted_labels == NEXT_BEST
        self._valence_arousal = valence_arousal
        self._layout = [MultiArrayDimension(label=",".join(labels), size=len(labels), stride=len(labels))]

    def expression(self, header: Header, expression: Expression) -> ExpressionMessage:
        """Return the message of an expression.

        Args:
            header: Header of the image.
            expression: Expression of a face.
        """
        label = expression.label
        if label not in self._names and self._is_next_best:
            label = max(self._names, key=lambda name: expression.scores[name])
        valence, arousal = self._circumplex(expression)
        return ExpressionMessage(
            header=header,
            expression=self._names.get(label, label),
            valence=valence,
            arousal=arousal,
            confidence=expression.scores[label],
        )

    def _circumplex(self, expression: Expression) -> tuple[float, float]:
        if self._valence_arousal == ZERO:
            return 0.0, 0.0
        point = expression.circumplex if self._valence_arousal == DERIVED else None
        return (math.nan, math.nan) if point is None else point

    def probabilities(self, expression: Expression) -> Float32MultiArray:
        """Return the probabilities of all labels, whose names are in the layout, separated by commas."""
        message = Float32MultiArray(data=[*expression.scores.values()])
        message.layout.dim = self._layout
        return message


def constant(label: str) -> str | None:
    """Return the value of the constant of hri_msgs/Expression for a label; None without one."""
    value: str | None = getattr(ExpressionMessage, CONSTANTS.get(canonical(label), ""), None)
    return value
