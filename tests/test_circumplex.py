"""Valence and arousal derived from probabilities."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from fer_edge import Expression, Recognizer
from fer_edge.circumplex import RATINGS, Circumplex, circumplex
from fer_edge.engines.base import Prediction
from fer_edge.labels import FERPLUS, LABEL_SETS, LabelSet
from tests.tiny import LABELS, tiny_bundle

GUIDE = Path(__file__).parents[1] / "docs" / "guides" / "app.md"


def certain(label: str) -> Circumplex:
    """Return the reading of a face that shows one expression only."""
    reading = circumplex({name: float(name == label) for name in FERPLUS.labels})
    assert reading is not None
    return reading


def test_a_certain_face_has_the_coordinates_of_its_label() -> None:
    assert certain("happiness") == pytest.approx(((8.48 - 5) / 4, (6.50 - 5) / 4))
    assert certain("sadness") == pytest.approx((-0.65, -0.5475))
    assert certain("disgust") == pytest.approx((-0.42, 0))
    readings = {label: certain(label) for label in FERPLUS.labels}
    assert max(readings, key=lambda label: readings[label].valence) == "happiness"
    assert max(readings, key=lambda label: readings[label].arousal) == "surprise"
    assert min(readings, key=readings.__getitem__) == "sadness" == min(readings, key=lambda label: readings[label][1])
    assert readings["anger"].arousal > 0 > readings["anger"].valence


def test_an_uncertain_face_lies_between_its_labels() -> None:
    scores = dict.fromkeys(FERPLUS.labels, 0.0) | {"happiness": 0.25, "fear": 0.75}
    assert circumplex(scores) == pytest.approx(0.25 * np.array(certain("happiness")) + 0.75 * np.array(certain("fear")))
    data = Expression("fear", 0.75, scores).to_dict()["derived"]
    assert list(data) == ["valence", "arousal"] and data["valence"] == pytest.approx(-0.170625, abs=1e-5)


@pytest.mark.parametrize("labels", LABEL_SETS.values(), ids=lambda labels: labels.name)
def test_every_shipped_label_set_has_coordinates(labels: LabelSet) -> None:
    assert set(labels.labels) <= set(RATINGS)
    share = 1 / len(labels)
    by_label, by_word = (circumplex(dict.fromkeys(names, share)) for names in (labels.labels, labels.words))
    assert by_label is not None and by_label == by_word  # "happy" has the coordinates of "happiness"


@pytest.mark.parametrize("scores", [{"happiness": 0.5, "calm": 0.5}, {"calm": 1.0}, {}])
def test_an_unknown_label_gives_no_reading(scores: dict[str, float]) -> None:
    assert circumplex(scores) is None
    assert Expression("calm", 0.5, scores).circumplex is None


def test_the_reading_follows_the_calibrated_probabilities(tmp_path: Path) -> None:
    """A temperature above 1 moves the reading from the label's coordinates to the mean of all labels' coordinates."""
    logits = np.array([[0, 4, 1]], np.float32)  # of neutral, happiness, surprise
    centre = circumplex(dict.fromkeys(LABELS, 1 / 3))
    assert centre is not None
    valences = []
    with Recognizer.open(tiny_bundle(tmp_path / "a.fer"), "onnxruntime", threads=1) as recognizer:
        for temperature in (0.1, 1.0, 2.0, 1e4):
            powers = np.exp(logits / temperature)
            (expression,) = recognizer.postprocess(Prediction(logits, None, powers / powers.sum()))
            reading = expression.circumplex
            assert reading is not None
            valences.append(reading.valence)
    assert valences == sorted(valences, reverse=True)
    assert valences[0] == pytest.approx(certain("happiness").valence, abs=1e-3)
    assert valences[-1] == pytest.approx(centre.valence, abs=1e-3)


def test_the_guide_shows_the_coordinates() -> None:
    rows = re.findall(r"^\| (\w+) \| (-?\d\.\d\d) \| (-?\d\.\d\d) \|$", GUIDE.read_text(), re.MULTILINE)
    table = {label: (float(valence), float(arousal)) for label, valence, arousal in rows}
    assert set(table) == set(RATINGS)
    for label, point in table.items():
        assert point == pytest.approx(certain(label), abs=0.00501)
