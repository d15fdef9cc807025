"""Expressions as messages."""

from __future__ import annotations

import math

import pytest
from hri_msgs.msg import Expression as ExpressionMessage
from std_msgs.msg import Header

from fer_edge import Expression
from fer_edge.circumplex import circumplex
from fer_edge.errors import ConfigError
from fer_edge.labels import FERPLUS, RAFDB, SFEW
from fer_edge_ros.messages import MessageWriter

HEADER = Header(frame_id="camera")


def expression(label: str, score: float = 0.65, labels: tuple[str, ...] = FERPLUS.labels) -> Expression:
    """Return an expression whose second best label is the first other one."""
    other = next(name for name in labels if name != label)
    scores = dict.fromkeys(labels, 0.0) | {label: score, other: 1 - score}
    return Expression(label, score, scores)


def writer(labels: tuple[str, ...] = FERPLUS.labels, **changes: str) -> MessageWriter:
    return MessageWriter(labels, **{"unlisted_labels": "next-best", "valence_arousal": "derived", **changes})


@pytest.mark.parametrize("labels", [FERPLUS.labels, RAFDB.labels, SFEW.labels])
def test_labels_have_the_constants_of_the_message(labels: tuple[str, ...]) -> None:
    values = {label: writer().expression(HEADER, expression(label)).expression for label in labels}
    names = {
        "neutral": ExpressionMessage.NEUTRAL,
        "happiness": ExpressionMessage.HAPPY,
        "surprise": ExpressionMessage.SURPRISED,
        "sadness": ExpressionMessage.SAD,
        "anger": ExpressionMessage.ANGRY,
        "disgust": ExpressionMessage.DISGUSTED,
        "fear": ExpressionMessage.SCARED,
        "contempt": ExpressionMessage.NEUTRAL,  # the next best
    }
    assert values == {label: names[label] for label in labels}


def test_contempt_is_the_next_best_with_its_probability_or_itself() -> None:
    contempt = expression("contempt", 0.65)
    message = writer().expression(HEADER, contempt)
    assert (message.expression, message.confidence) == ("neutral", pytest.approx(0.35))
    message = writer(unlisted_labels="publish").expression(HEADER, contempt)
    assert (message.expression, message.confidence) == ("contempt", pytest.approx(0.65))
    probabilities = writer().probabilities(contempt)
    assert probabilities.layout.dim[0].label.split(",") == list(FERPLUS.labels)
    assert (probabilities.layout.dim[0].size, probabilities.layout.dim[0].stride) == (8, 8)
    assert probabilities.data[7] == pytest.approx(0.65)


def test_labels_of_other_models() -> None:
    assert (
        writer(("Happy", "calm")).expression(HEADER, expression("Happy", labels=("Happy", "calm"))).expression
        == "happy"
    )
    with pytest.raises(ConfigError, match="hri_msgs/Expression lists none of the labels calm, awake"):
        writer(("calm", "awake"))
    labels = ("calm", "awake")
    message = writer(labels, unlisted_labels="publish").expression(HEADER, expression("awake", labels=labels))
    assert message.expression == "awake" and math.isnan(message.valence)


@pytest.mark.parametrize("kind", ["derived", "zero", "nan"])
def test_valence_and_arousal(kind: str) -> None:
    happy = expression("happiness")
    message = writer(valence_arousal=kind).expression(HEADER, happy)
    expected = {"derived": circumplex(happy.scores), "zero": (0, 0), "nan": (math.nan, math.nan)}[kind]
    assert (message.valence, message.arousal) == pytest.approx(expected, nan_ok=True)
    assert message.header == HEADER
