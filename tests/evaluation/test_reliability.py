"""Reliability bins and deferral, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.evaluation.accuracy import Outputs, score
from fer_edge.evaluation.dataset import ImageSet
from fer_edge.evaluation.reliability import ReliabilityBin, expected_calibration_error, reliability
from fer_edge.evaluation.selective import Deferral, deferrals

PROBABILITIES = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.0, 1.0]], np.float32)
TRUE = np.array([0, 1, 1, 1])


def test_bins_by_hand() -> None:
    found = reliability(PROBABILITIES, TRUE, bins=4)
    assert found == (
        ReliabilityBin(0.0, 0.25, 0, None, None),
        ReliabilityBin(0.25, 0.5, 0, None, None),
        ReliabilityBin(0.5, 0.75, 1, 0.6, 1.0),
        ReliabilityBin(0.75, 1.0, 3, 0.9333, 0.6667),  # 0.9 right, 0.9 wrong, 1.0 right
    )


def test_calibration_error_by_hand() -> None:
    # 0.9 twice, right once: 2 / 4 * 0.4; 0.6, right: 1 / 4 * 0.4; 1.0, right: 0.
    assert expected_calibration_error(PROBABILITIES, TRUE) == pytest.approx(0.3, abs=1e-6)


@given(st.lists(st.tuples(st.floats(0.5, 1), st.integers(0, 1)), min_size=1), st.integers(1, 20))
def test_bins_and_calibration_error_tell_the_same(rows: list[tuple[float, int]], bins: int) -> None:
    scores = np.array([score for score, _ in rows])
    probabilities, true = np.stack([scores, 1 - scores], 1).astype(np.float32), np.array([label for _, label in rows])
    found = [one for one in reliability(probabilities, true, bins) if one.images]
    assert sum(one.images for one in found) == len(rows)
    assert all(one.confidence is not None and one.low - 1e-3 <= one.confidence <= one.high + 1e-3 for one in found)
    gaps = (one.images * abs((one.confidence or 0) - (one.accuracy or 0)) for one in found)
    assert expected_calibration_error(probabilities, true, bins) == pytest.approx(sum(gaps) / len(rows), abs=2e-4)


def test_deferral_by_hand() -> None:
    scores = np.array([0.95, 0.55, 0.85, 0.65, 0.75, 0.9, 0.9, 0.9, 0.9, 0.9])
    right = np.array([True, False, False, True, True, True, True, True, True, True])
    agree = np.array([True, True, False, True, True, True, True, True, True, True])
    found = {one.rule: one for one in deferrals(np.stack([scores, 1 - scores], 1).astype(np.float32), right, agree)}
    assert found["heads disagree"] == Deferral("heads disagree", 10.0, 88.889, 0.0)
    assert found["as many, by lowest score"] == Deferral("as many, by lowest score", 10.0, 88.889, 0.0)
    assert found["lowest 20 % of scores"] == Deferral("lowest 20 % of scores", 20.0, 87.5, 50.0)
    assert [one for one in found if "disagree" in one or "as many" in one] == list(found)[:2]


def test_each_head_and_their_mean_are_scored() -> None:
    label = np.log(np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]], np.float32))
    text = np.log(np.array([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4]], np.float32))
    true = np.array([0, 1, 1])
    mean = (np.exp(label) + np.exp(text)) * np.float32(0.5)  # 0.85, 0.15; 0.35, 0.65; 0.45, 0.55
    found = score(Outputs(true, label, text, mean, ImageSet((), true), ()), ("a", "b"))
    assert {head: one.accuracy for head, one in found.heads.items()} == {"label": 66.667, "text": 66.667, "mean": 100}
    assert {head: one.mean_class_accuracy for head, one in found.heads.items()} == {
        "label": 75,
        "text": 75,
        "mean": 100,
    }
    assert found.heads["mean"].calibration_error == pytest.approx((0.15 + 0.35 + 0.45) / 3, abs=1e-4)
    assert (found.heads_agree, found.accuracy_agreeing, found.accuracy_disagreeing) == (33.333, 100, 100)
    alone = score(Outputs(true, label, None, np.exp(label), ImageSet((), true), ()), ("a", "b"))
    assert list(alone.heads) == ["label"]
    assert alone.heads_agree is None
    assert [one.rule for one in alone.deferrals] == [f"lowest {share} % of scores" for share in (5, 10, 20)]
