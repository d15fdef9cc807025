"""Mapping of a data set's labels to a model's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fer_edge.data.matching import UNCOUNTED, match_split
from fer_edge.data.splits import LabelledSplit
from fer_edge.errors import DataError
from fer_edge.labels import FERPLUS, RAFDB, LabelSet
from fer_edge.walk import count_reasons


def split(*names: str, labels: list[int] | None = None) -> LabelledSplit:
    indices = np.array(list(range(len(names))) if labels is None else labels)
    paths = tuple(Path(f"{index}.png") for index in range(len(indices)))
    return LabelledSplit("faces valid", LabelSet("folders", names, names), paths, indices)


def test_images_of_labels_that_the_model_lacks_are_counted() -> None:
    data = LabelledSplit("FERPlus valid", FERPLUS, tuple(map(Path, "abcde")), np.array([7, 1, -1, 7, 0]))
    targets, left_out = match_split(data, RAFDB.labels)
    assert targets.tolist() == [-1, 3, -1, -1, 6]
    assert count_reasons(left_out) == {"label contempt, which the model does not have": 2, UNCOUNTED: 1}


def test_misspelt_labels_are_refused_with_a_suggestion() -> None:
    with pytest.raises(
        DataError,
        match=r"faces valid has labels that the model does not have: happyness; did you mean happiness\? "
        r"expected some of: surprise, .*; rename or remove them \(1 images, such as 1\.png\)",
    ):
        match_split(split("neutral", "happyness"), RAFDB.labels)
    with pytest.raises(DataError, match="train does not have: bored; expected some of: neutral, sad"):
        match_split(split("neutral", "bored"), ("neutral", "sad"), owner="train")


def test_no_common_label_lists_both_label_sets() -> None:
    names = [str(index) for index in range(12)]
    with pytest.raises(
        DataError,
        match=r"faces valid shares no label with the model: its labels are 0, 1, .*, 9 and 2 more; "
        r"expected some of: surprise, .*; rename its folders",
    ):
        match_split(split(*names), RAFDB.labels)
