"""Training targets of Barsoum et al., computed by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fer_edge.data.images import ImageSet
from fer_edge.data.targets import class_weights, target_rows
from fer_edge.labels import FERPLUS, RAFDB


def split(votes: list[list[int]]) -> ImageSet:
    paths = tuple(Path(str(index)) for index in range(len(votes)))
    return ImageSet(paths, np.array([0, -1, 1][: len(votes)]), label_set=FERPLUS, votes=np.array(votes))


def test_targets_match_values_by_hand() -> None:
    votes = [[6, 2, 1, 0, 0, 0, 0, 0, 1, 0], [4, 4, 0, 0, 0, 0, 0, 0, 2, 0], [0, 9, 0, 0, 0, 0, 0, 0, 0, 0]]
    data = split(votes)
    assert target_rows(data, "majority").argmax(axis=1).tolist() == [0, 0, 1]
    assert target_rows(data, "majority")[1].sum() == 0
    np.testing.assert_allclose(target_rows(data, "crossentropy")[0, :2], [0.75, 0.25])
    rows = target_rows(data, "multi_target")
    assert rows[0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]  # 2 of 8 votes are below 30 %
    assert rows[1].tolist() == [1, 1, 0, 0, 0, 0, 0, 0]


def test_distributions_match_values_by_hand() -> None:
    votes = [[6, 2, 1, 0, 0, 0, 0, 0, 1, 0], [2, 0, 0, 0, 0, 0, 0, 0, 8, 0], [0] * 10]
    for targets in ("probability", "crossentropy"):
        rows = target_rows(split(votes), targets)
        np.testing.assert_allclose(rows[0], [0.75, 0.25, 0, 0, 0, 0, 0, 0])
        assert not rows[1:].any()


def test_multi_targets_need_more_than_half_of_the_votes() -> None:
    assert not target_rows(split([[4, 0, 0, 0, 0, 0, 0, 0, 0, 6]]), "multi_target").any()
    assert not target_rows(split([[0] * 10]), "multi_target").any()


def test_targets_without_votes_are_one_hot() -> None:
    plain = ImageSet((Path("a"), Path("b")), np.array([6, 2]), label_set=RAFDB)
    for targets in ("majority", "probability", "crossentropy", "multi_target"):
        assert target_rows(plain, targets).argmax(axis=1).tolist() == [6, 2]


def test_class_weights_balance_the_classes() -> None:
    rows = np.array([[1, 0, 0]] * 3 + [[0, 1, 0]], np.float32)
    weights = class_weights(rows)
    np.testing.assert_allclose(weights, [2 / 3, 2, 1])
    assert (rows @ weights).mean() == 1
