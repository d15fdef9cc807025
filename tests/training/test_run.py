"""What a run does before its first step: splits without common images, and notes on what is left out of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fer_edge.data.layouts import read_split
from fer_edge.errors import DataError
from fer_edge.training.initialization import Sources
from fer_edge.training.recipe import Recipe
from fer_edge.training.run import prepare_run
from tests.faces import face


def few(root: Path, names: tuple[str, ...] = ("happy", "sad", "angry")) -> Path:
    """Class folders, four images each."""
    for split, seed in (("train", 0), ("valid", 100)):
        for label, name in enumerate(names):
            for index in range(4):
                face(root / split / name / f"{index}.png", label, seed + 10 * label + index)
    return root


def prepared(root: Path, tmp_path: Path) -> list[str]:
    """Notes of a run on these images."""
    stem = {"input_width": 8, "widths": [8, 12], "units": [1, 1]}
    tiny = {"model": {"dim": 12, "depth": 1, "text_dim": 8, "stem": stem}, "training": {"batch": 4}}
    lines: list[str] = []
    prepare_run(Recipe.from_dict(tiny), Sources(root), tmp_path / "run", note=lines.append)
    return lines


def test_what_is_left_out_of_both_splits_is_noted(tmp_path: Path) -> None:
    root = few(tmp_path / "own")
    face(root / "valid" / "fear" / "a.png", 0, 999)
    face(root / "train" / ".ipynb_checkpoints" / "a.png", 0, 998)
    (root / "valid" / "disgust").mkdir()
    (root / "train" / "happy" / "4.png").write_bytes((root / "valid" / "happy" / "0.png").read_bytes())
    (root / "valid" / "happy" / "9.png").write_bytes((root / "valid" / "happy" / "1.png").read_bytes())
    lines = prepared(root, tmp_path)
    assert [line.split(", such as")[0] for line in lines] == [
        "own train: left out 1: hidden folder",
        "own train: left out 1: copy of a validation image",
        "own valid: left out 1: label folder without images",
        "own valid: left out 1: label fear, which own train does not have",
    ]


def test_a_label_without_images_to_learn_from_is_refused(tmp_path: Path) -> None:
    root = few(tmp_path / "own")
    (root / "train" / "boredom").mkdir()
    (root / "train" / "boredom" / "a.heic").touch()
    with pytest.raises(DataError, match="own train: no images in boredom: fill or remove the folder; left out 1: HEIC"):
        prepared(root, tmp_path)
    with pytest.raises(DataError, match="has the one label happiness; expected at least two"):
        prepared(few(tmp_path / "one", ("happy",)), tmp_path)


def test_an_unreadable_folder_to_learn_from_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, scandir = few(tmp_path / "own"), os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "sad":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(
        DataError, match=r"own train: left out 1: unreadable folder \(Permission denied\), such as .*sad;"
    ):
        prepared(root, tmp_path)


def test_misspelt_validation_classes_are_refused(tmp_path: Path) -> None:
    root = few(tmp_path / "own")
    (root / "valid" / "sad").rename(root / "valid" / "sadnes")
    with pytest.raises(
        DataError, match=r"own train does not have: sadnes; did you mean sadness\? expected some of: ang"
    ):
        prepared(root, tmp_path)


def test_a_list_that_shares_images_with_the_other_is_refused(tmp_path: Path) -> None:
    train = read_split(few(tmp_path / "own"), "train")
    lines = [f"{path} {path.parent.name} {label}" for path, label in zip(train.paths, train.labels, strict=True)]
    (tmp_path / "train.txt").write_text("\n".join(lines))
    (tmp_path / "valid.txt").write_text("\n".join(lines[::2]))
    with pytest.raises(DataError, match=r"6 of 6 images of valid\.txt are also in train\.txt, such as"):
        prepared(tmp_path, tmp_path)
