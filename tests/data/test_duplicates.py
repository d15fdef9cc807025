"""Duplicate images: in both splits, or under two labels."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fer_edge.data.duplicates import COPY, separate
from fer_edge.data.images import ImageSet
from fer_edge.data.layouts import read_split
from fer_edge.errors import DataError
from fer_edge.labels import FERPLUS
from fer_edge.walk import count_reasons
from tests.synthetic import face


def make_split(folder: Path, count: int, seed: int) -> ImageSet:
    paths = tuple(folder / f"{index}.png" for index in range(count))
    for index, path in enumerate(paths):
        face(path, index, seed + index, 8)
    return ImageSet(paths, np.arange(count) % 3, source=folder.name, label_set=FERPLUS)


@pytest.fixture
def train(tmp_path: Path) -> ImageSet:
    return make_split(tmp_path / "train", 30, 0)


@pytest.fixture
def valid(tmp_path: Path) -> ImageSet:
    return make_split(tmp_path / "valid", 20, 100)


def test_splits_without_common_images_are_unchanged(train: ImageSet, valid: ImageSet) -> None:
    result, notes = separate(train, valid)
    assert result is train and notes == []


@pytest.mark.parametrize("kind", ["path", "spelling", "link", "hard link", "folder link"])
def test_a_file_in_both_splits_is_refused(kind: str, train: ImageSet, valid: ImageSet) -> None:
    shared, other = train.paths[4], valid.paths[7]
    if kind == "path":
        other = shared
    elif kind == "spelling":
        other = shared.parent / ".." / shared.parent.name / shared.name
    elif kind == "folder link":
        (other.parent / "link").symlink_to(shared.parent)
        other = other.parent / "link" / shared.name
    else:
        other.unlink()
        other.symlink_to(shared) if kind == "link" else os.link(shared, other)
    paths = (*valid.paths[:7], other, *valid.paths[8:])
    with pytest.raises(DataError, match=r"1 of 20 images of valid are also in train, such as .*\.png; expected other"):
        separate(train, replace(valid, paths=paths))


def test_few_copies_are_left_out_of_training(train: ImageSet, valid: ImageSet) -> None:
    shutil.copy(train.paths[4], valid.paths[7])
    result, notes = separate(train, valid)
    assert train.paths[4] not in result.paths and len(result) == 29 and notes == []
    assert result.required_labels.tolist() == np.delete(train.required_labels, 4).tolist()
    assert count_reasons(result.left_out) == {COPY: 1} and result.left_out[0].path == train.paths[4]


def test_many_copies_are_refused(train: ImageSet, valid: ImageSet) -> None:
    for index in range(3):
        shutil.copy(train.paths[index], valid.paths[index])
    with pytest.raises(DataError, match=r"3 of 20 images of valid are copies of images of train, such as .*0\.png of"):
        separate(train, valid)


def test_official_splits_keep_few_copies(train: ImageSet, valid: ImageSet) -> None:
    shutil.copy(train.paths[4], valid.paths[7])
    official = replace(train, official=True), replace(valid, official=True)
    result, notes = separate(*official)
    assert result is official[0]
    (note,) = notes
    assert note.startswith("1 of 20 images of valid are copies of images of train, such as ")
    assert note.endswith("; both splits are used as published")


def test_copies_of_uncounted_validation_images_stay(train: ImageSet, valid: ImageSet) -> None:
    shutil.copy(train.paths[4], valid.paths[7])
    valid.required_labels[7] = -1
    assert separate(train, valid) == (train, [])


def test_equal_images_with_different_labels_are_noted(train: ImageSet, valid: ImageSet) -> None:
    shutil.copy(train.paths[0], train.paths[1])
    shutil.copy(train.paths[3], train.paths[6])  # both have one label
    result, (note,) = separate(train, valid)
    assert result is train
    assert note.startswith("train has equal images with different labels: 1, such as ")
    assert "0.png (neutral) and " in note and note.endswith("1.png (happiness)")


def test_missing_and_empty_files_are_not_compared(train: ImageSet, valid: ImageSet) -> None:
    train.paths[0].unlink()
    train.paths[1].write_bytes(b"")
    valid.paths[1].write_bytes(b"")
    assert separate(train, valid) == (train, [])


@pytest.mark.slow
@pytest.mark.data
def test_ferplus_has_245_copies(ferplus: Path) -> None:
    train, valid = read_split(ferplus, "train"), read_split(ferplus, "valid")
    result, notes = separate(train, valid)
    assert result is train
    assert any(note.startswith("245 of 3191 images of FERPlus valid are copies") for note in notes)
