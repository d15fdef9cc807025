"""Reliability bins and selective classification, checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.data.images import ImageSet
from fer_edge.evaluation.accuracy import Outputs, score
from fer_edge.evaluation.reliability import ReliabilityBin, expected_calibration_error, reliability
from fer_edge.evaluation.selective import SelectiveScore, selective_scores

PROBABILITIES = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.0, 1.0]], np.float32)
TRUE = np.array([0, 1, 1, 1])


def test_bins_by_hand() -> None:
    assert reliability(PROBABILITIES, TRUE, bins=4) == (
        ReliabilityBin(0.0, 0.25, 0, None, None),
        ReliabilityBin(0.25, 0.5, 0, None, None),
        ReliabilityBin(0.5, 0.75, 1, 0.6, 1.0),
        ReliabilityBin(0.75, 1.0, 3, 0.9333, 0.6667),  # 0.9 correct, 0.9 wrong, 1.0 correct
    )


def test_calibration_error_by_hand() -> None:
    # 0.9 twice, correct once: 2 / 4 * 0.4; 0.6, correct: 1 / 4 * 0.4; 1.0, correct: 0.
    assert expected_calibration_error(PROBABILITIES, TRUE) == pytest.approx(0.3, abs=1e-6)


@given(st.lists(st.tuples(st.floats(0.5, 1), st.integers(0, 1)), min_size=1), st.integers(1, 20))
def test_calibration_error_is_the_mean_gap_of_the_bins(rows: list[tuple[float, int]], bins: int) -> None:
    scores = np.array([score for score, _ in rows])
    probabilities, true = np.stack([scores, 1 - scores], 1).astype(np.float32), np.array([label for _, label in rows])
    filled = [bin_ for bin_ in reliability(probabilities, true, bins) if bin_.images]
    assert sum(bin_.images for bin_ in filled) == len(rows)
    assert all(bin_.low - 1e-3 <= (bin_.confidence or -1) <= bin_.high + 1e-3 for bin_ in filled)
    gaps = (bin_.images * abs((bin_.confidence or 0) - (bin_.accuracy or 0)) for bin_ in filled)
    assert expected_calibration_error(probabilities, true, bins) == pytest.approx(sum(gaps) / len(rows), abs=2e-4)


def test_selective_scores_by_hand() -> None:
    scores = np.array([0.95, 0.55, 0.85, 0.65, 0.75, 0.9, 0.9, 0.9, 0.9, 0.9])
    correct = np.array([True, False, False, True, True, True, True, True, True, True])
    agree = np.array([True, True, False, True, True, True, True, True, True, True])
    probabilities = np.stack([scores, 1 - scores], 1).astype(np.float32)
    by_rule = {score.rule: score for score in selective_scores(probabilities, correct, agree)}
    assert by_rule["heads disagree"] == SelectiveScore("heads disagree", 90.0, 88.889, 0.0)
    assert by_rule["equal number, lowest scores"] == SelectiveScore("equal number, lowest scores", 90.0, 88.889, 0.0)
    assert by_rule["lowest 20 % of scores"] == SelectiveScore("lowest 20 % of scores", 80.0, 87.5, 50.0)
    assert list(by_rule)[:2] == ["heads disagree", "equal number, lowest scores"]


def test_each_head_and_their_mean_are_scored() -> None:
    label = np.log(np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]], np.float32))
    text = np.log(np.array([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4]], np.float32))
    true = np.array([0, 1, 1])
    mean = (np.exp(label) + np.exp(text)) * np.float32(0.5)  # 0.85, 0.15; 0.35, 0.65; 0.45, 0.55
    report = score(Outputs(true, label, text, mean, ImageSet((), true), ()), ("a", "b"))
    heads = report.heads
    assert {name: head.accuracy for name, head in heads.items()} == {"label": 66.667, "text": 66.667, "mean": 100}
    assert {name: head.mean_class_accuracy for name, head in heads.items()} == {"label": 75, "text": 75, "mean": 100}
    assert heads["mean"].calibration_error == pytest.approx((0.15 + 0.35 + 0.45) / 3, abs=1e-4)
    assert (report.heads_agree, report.accuracy_agreeing, report.accuracy_disagreeing) == (33.333, 100, 100)
    single = score(Outputs(true, label, None, np.exp(label), ImageSet((), true), ()), ("a", "b"))
    assert list(single.heads) == ["label"]
    assert single.heads_agree is None
    assert [rule.rule for rule in single.selective] == [f"lowest {share} % of scores" for share in (5, 10, 20)]
