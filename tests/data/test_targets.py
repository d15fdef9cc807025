"""Targets of Barsoum et al., by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fer_edge.data.splits import LabelledSplit
from fer_edge.data.targets import class_weights, target_rows
from fer_edge.labels import FERPLUS, RAFDB


def split(votes: list[list[int]]) -> LabelledSplit:
    paths = tuple(Path(str(index)) for index in range(len(votes)))
    return LabelledSplit("made up", FERPLUS, paths, np.array([0, -1, 1][: len(votes)]), np.array(votes))


def test_targets_by_hand() -> None:
    votes = [[6, 2, 1, 0, 0, 0, 0, 0, 1, 0], [4, 4, 0, 0, 0, 0, 0, 0, 2, 0], [0, 9, 0, 0, 0, 0, 0, 0, 0, 0]]
    made_up = split(votes)
    assert target_rows(made_up, "majority").argmax(axis=1).tolist() == [0, 0, 1]
    assert target_rows(made_up, "majority")[1].sum() == 0
    np.testing.assert_allclose(target_rows(made_up, "crossentropy")[0, :2], [0.75, 0.25])
    several = target_rows(made_up, "multi_target")
    assert several[0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]  # 2 of 8 votes are less than 30 %
    assert several[1].tolist() == [1, 1, 0, 0, 0, 0, 0, 0]


def test_several_labels_need_more_than_half_of_the_votes() -> None:
    assert not target_rows(split([[4, 0, 0, 0, 0, 0, 0, 0, 0, 6]]), "multi_target").any()
    assert not target_rows(split([[0] * 10]), "multi_target").any()


def test_sets_without_votes_are_one_hot_whatever_is_asked() -> None:
    plain = LabelledSplit("RAF-DB", RAFDB, (Path("a"), Path("b")), np.array([6, 2]))
    for targets in ("majority", "probability", "crossentropy", "multi_target"):
        assert target_rows(plain, targets).argmax(axis=1).tolist() == [6, 2]


def test_balanced_weights_make_classes_count_alike() -> None:
    rows = np.array([[1, 0, 0]] * 3 + [[0, 1, 0]], np.float32)
    weights = class_weights(rows)
    np.testing.assert_allclose(weights, [2 / 3, 2, 1])
    assert (rows @ weights).mean() == 1
