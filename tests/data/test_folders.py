"""Class folders: labels, images, and what is left out."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.data.layouts import find_layout, read_split
from fer_edge.data.layouts.folders import check_distinct, label_set_of
from fer_edge.errors import DataError, ImageError
from fer_edge.labels import FERPLUS, RAFDB, SFEW, canonical, comparable, match_labels
from fer_edge.walk import count_reasons
from tests.synthetic import face, make_sfew

ADJECTIVES = ("neutral", "happy", "surprised", "sad", "angry", "disgusted", "fearful", "contemptuous")


def make_data_set(root: Path, names: tuple[str, ...] = FERPLUS.labels) -> Path:
    for split in ("train", "valid"):
        for index, name in enumerate(names):
            face(root / split / name / "a.png", index, index + (100 if split == "valid" else 0), 8)
    return root


def test_hidden_folders_are_left_out(tmp_path: Path) -> None:
    root = make_data_set(tmp_path / "own")
    face(root / "train" / ".ipynb_checkpoints" / "a-checkpoint.png", 0, 0, 8)
    face(root / "train" / "happiness" / "@eaDir" / "a.png", 0, 0, 8)
    face(root / "train" / "stray.png", 0, 0, 8)
    (root / "train" / "anger" / "b.heic").touch()
    train = read_split(root, "train")
    assert train.label_set is FERPLUS and len(train) == 8
    assert count_reasons(train.left_out) == {
        "hidden folder": 1,
        "HEIC image (convert to JPEG or PNG)": 1,
        "thumbnail folder": 1,
        "image outside of the label folders": 1,
    }


def test_empty_class_folders_are_left_out(tmp_path: Path) -> None:
    root = make_data_set(tmp_path / "own")
    (root / "valid" / "fear" / "a.png").unlink()
    (root / "valid" / "fear" / "README.txt").touch()
    valid = read_split(root, "valid")
    assert valid.label_set is FERPLUS and len(valid) == 7
    assert [(entry.path.name, entry.reason) for entry in valid.left_out] == [("fear", "label folder without images")]


def test_a_split_of_unsupported_formats_is_refused(tmp_path: Path) -> None:
    for name in ("happy", "sad"):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "a.heic").touch()
    with pytest.raises(DataError, match=r"no images below .*train; left out 2: HEIC image"):
        read_split(tmp_path, "train")


def test_a_missing_split_lists_the_existing_ones(tmp_path: Path) -> None:
    root = make_data_set(tmp_path / "kaggle")
    (root / "valid").rename(root / "test")
    with pytest.raises(
        DataError,
        match="no folder valid or val or validation, but the splits train and test: name one of them with --split",
    ):
        read_split(root, "valid")
    (root / "Val").mkdir()
    (root / "valid").mkdir()
    with pytest.raises(DataError, match="several folders for the split valid: Val, valid; expected one"):
        read_split(root, "valid")


def test_an_unreadable_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(ImageError, match=r"cannot read .*: Permission denied"):
        find_layout(tmp_path)


def test_an_unreadable_label_folder_is_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_data_set(tmp_path / "own")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "fear":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    valid = read_split(root, "valid")
    assert valid.label_set is FERPLUS and len(valid) == 7
    assert count_reasons(valid.left_out) == {"unreadable folder (Permission denied)": 1}


def test_sfew_with_other_classes_is_read_as_folders(tmp_path: Path) -> None:
    root = make_sfew(tmp_path / "sfew", 1)
    assert read_split(root, "train").label_set is SFEW
    face(root / "Train" / "Contempt" / "0.png", 0, 0, 8)
    assert read_split(root, "train").label_set is FERPLUS


def test_adjectives_match_labels() -> None:
    assert label_set_of(ADJECTIVES) is FERPLUS
    assert match_labels(ADJECTIVES, FERPLUS.labels) == list(range(8))
    assert match_labels(("afraid", "Scared", "joy", "excited"), RAFDB.labels) == [1, 1, -1, -1]


@pytest.mark.parametrize("name", ["fröhlich", "Überraschung", "ärgerlich", "기쁨", "İyi", "groß"])
def test_unicode_forms_and_case_give_one_label(name: str) -> None:
    forms = [unicodedata.normalize(form, case) for form in ("NFC", "NFD") for case in (name, name.lower(), f" {name} ")]
    assert len({canonical(form) for form in forms}) == 1
    assert match_labels(forms, ("other", name)) == [1] * len(forms)
    assert label_set_of([unicodedata.normalize("NFD", name)]).labels == label_set_of([name]).labels


@given(st.text(min_size=1))
def test_comparable_is_idempotent(name: str) -> None:
    assert comparable(comparable(name)) == comparable(name) == comparable(unicodedata.normalize("NFD", name))


def test_an_exact_label_comes_before_a_synonym() -> None:
    assert match_labels(("scared", "fear", "Fearful"), ("scared", "fear")) == [0, 1, 1]


def test_two_names_of_one_label_are_refused_in_training(tmp_path: Path) -> None:
    check_distinct(["Happy", "happy", "sad"])
    with pytest.raises(DataError, match="the labels fear and scared mean the same, fear; expected one of them"):
        check_distinct(["scared", "fear", "sad"])
    root = make_data_set(tmp_path / "own", ("fear", "scared", "sad"))
    with pytest.raises(DataError, match="mean the same"):
        read_split(root, "train")
    assert read_split(root, "valid").label_set.labels == ("fear", "sadness")
