"""Image sets: labels matched with a model's, subsets, and faces held in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fer_edge.data.images import UNCOUNTED, ImageSet
from fer_edge.data.layouts import read_split
from fer_edge.errors import DataError, ImageError
from fer_edge.labels import FERPLUS, RAFDB, LabelSet
from fer_edge.walk import count_reasons
from tests.synthetic import make_ferplus


def split(*names: str, labels: list[int] | None = None) -> ImageSet:
    indices = np.array(list(range(len(names))) if labels is None else labels)
    paths = tuple(Path(f"{index}.png") for index in range(len(indices)))
    return ImageSet(paths, indices, source="faces valid", label_set=LabelSet("folders", names, names))


def test_images_of_labels_that_the_model_lacks_are_counted() -> None:
    data = ImageSet(tuple(map(Path, "abcde")), np.array([7, 1, -1, 7, 0]), label_set=FERPLUS)
    matched = data.match(RAFDB.labels)
    assert matched.paths == (Path("b"), Path("e")) and matched.required_labels.tolist() == [3, 6]
    again = matched.match(RAFDB.labels)
    assert again.paths == matched.paths and again.left_out == matched.left_out
    assert count_reasons(matched.left_out) == {"label contempt, which the model does not have": 2, UNCOUNTED: 1}


def test_misspelt_labels_are_refused_with_a_suggestion() -> None:
    with pytest.raises(
        DataError,
        match=r"faces valid has labels that the model does not have: happyness; did you mean happiness\? "
        r"expected some of: surprise, .*; rename or remove them \(1 images, such as 1\.png\)",
    ):
        split("neutral", "happyness").match(RAFDB.labels)
    with pytest.raises(DataError, match="train does not have: bored; expected some of: neutral, sad"):
        split("neutral", "bored").match(("neutral", "sad"), owner="train")


def test_no_common_label_lists_both_label_sets() -> None:
    names = [str(index) for index in range(12)]
    with pytest.raises(
        DataError,
        match=r"faces valid shares no label with the model: its labels are 0, 1, .*, 9 and 2 more; "
        r"expected some of: surprise, .*; rename its folders",
    ):
        split(*names).match(RAFDB.labels)


def test_chosen_images_are_in_order_and_depend_on_the_seed() -> None:
    data = split(*"abcdefghij")
    chosen = data.choose(4, 0)
    assert len(chosen) == 4 and list(chosen.paths) == sorted(chosen.paths)
    assert chosen.paths == data.choose(4, 0).paths != data.choose(4, 1).paths
    assert [data.paths[label] for label in chosen.required_labels] == list(chosen.paths)
    assert data.choose(0, 0) is data.choose(10, 0) is data


def test_held_faces_are_not_read_again(tmp_path: Path) -> None:
    data = read_split(make_ferplus(tmp_path, train=6), "train")
    (batch, labels), *_ = data.batches(6)
    held = replace(data, pixels=batch)
    for path in data.paths:
        path.unlink()
    ((taken, taken_labels),) = held.take(np.array([4, 1])).batches(8)
    assert labels is not None and taken_labels is not None
    assert np.array_equal(taken, batch[[4, 1]]) and taken_labels.tolist() == labels[[4, 1]].tolist()
    with pytest.raises(ImageError, match=r"cannot read .*0\.png"):
        next(data.batches(6))
