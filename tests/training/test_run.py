"""Preparation of a run: checks of the splits, and notes on images that are left out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fer_edge._settings import convert
from fer_edge.data.layouts import read_split
from fer_edge.errors import DataError
from fer_edge.training.initialization import Sources
from fer_edge.training.recipe import Recipe
from fer_edge.training.results import EpochResult, TrainingResult
from fer_edge.training.run import make_trainer, train
from tests.synthetic import face


def make_folders(root: Path, names: tuple[str, ...] = ("happy", "sad", "angry")) -> Path:
    """Write class folders with four images each."""
    for split, seed in (("train", 0), ("valid", 100)):
        for label, name in enumerate(names):
            for index in range(4):
                face(root / split / name / f"{index}.png", label, seed + 10 * label + index)
    return root


SMALL = {
    "batch": 4, "epochs": 1, "model.dim": 10, "model.depth": 1, "model.text_dim": 8, "model.stem.input_width": 8,
    "model.stem.widths": [8, 12], "model.stem.units": [1, 1],
}  # fmt: skip


def prepare(root: Path, tmp_path: Path) -> list[str]:
    """Make a trainer, and return the notes on its images."""
    stem = {"input_width": 8, "widths": [8, 12], "units": [1, 1]}
    tiny = {"model": {"dim": 10, "depth": 1, "text_dim": 8, "stem": stem}, "training": {"batch": 4}}
    return make_trainer(convert(tiny, Recipe), Sources(root), tmp_path / "run")[1]


def test_images_left_out_of_both_splits_are_noted(tmp_path: Path) -> None:
    root = make_folders(tmp_path / "own")
    face(root / "valid" / "fear" / "a.png", 0, 999)
    face(root / "train" / ".ipynb_checkpoints" / "a.png", 0, 998)
    (root / "valid" / "disgust").mkdir()
    (root / "train" / "happy" / "4.png").write_bytes((root / "valid" / "happy" / "0.png").read_bytes())
    (root / "valid" / "happy" / "9.png").write_bytes((root / "valid" / "happy" / "1.png").read_bytes())
    lines = prepare(root, tmp_path)
    assert [line.split(", such as")[0] for line in lines] == [
        "own train: left out 1: hidden folder",
        "own train: left out 1: copy of a validation image",
        "own valid: left out 1: label folder without images",
        "own valid: left out 1: label fear, which own train does not have",
    ]


def test_a_label_without_training_images_is_refused(tmp_path: Path) -> None:
    root = make_folders(tmp_path / "own")
    (root / "train" / "boredom").mkdir()
    (root / "train" / "boredom" / "a.heic").touch()
    with pytest.raises(DataError, match="own train: no images in boredom: fill or remove the folder; left out 1: HEIC"):
        prepare(root, tmp_path)
    with pytest.raises(DataError, match="has the one label happiness; expected at least two"):
        prepare(make_folders(tmp_path / "one", ("happy",)), tmp_path)


def test_an_unreadable_training_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, scandir = make_folders(tmp_path / "own"), os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "sad":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(
        DataError, match=r"own train: left out 1: unreadable folder \(Permission denied\), such as .*sad;"
    ):
        prepare(root, tmp_path)


def test_misspelt_validation_classes_are_refused(tmp_path: Path) -> None:
    root = make_folders(tmp_path / "own")
    (root / "valid" / "sad").rename(root / "valid" / "sadnes")
    with pytest.raises(
        DataError, match=r"own train does not have: sadnes; did you mean sadness\? expected some of: ang"
    ):
        prepare(root, tmp_path)


def test_lists_with_common_images_are_refused(tmp_path: Path) -> None:
    train = read_split(make_folders(tmp_path / "own"), "train")
    lines = [
        f"{path} {path.parent.name} {label}" for path, label in zip(train.paths, train.required_labels, strict=True)
    ]
    (tmp_path / "train.txt").write_text("\n".join(lines))
    (tmp_path / "valid.txt").write_text("\n".join(lines[::2]))
    with pytest.raises(DataError, match=r"6 of 6 images of valid\.txt are also in train\.txt, such as"):
        prepare(tmp_path, tmp_path)


def test_a_training_is_one_call_that_returns_its_result(tmp_path: Path) -> None:
    result = train(str(make_folders(tmp_path / "own")), str(tmp_path / "run"), settings=SMALL)
    assert isinstance(result, TrainingResult)
    assert result.checkpoint == tmp_path / "run" / "best.safetensors" and result.checkpoint.is_file()
    assert (len(result.epochs), result.validation_images, result.text_source) == (1, 12, "learned")
    assert str(result).startswith(f"{result.checkpoint}: ") and result.to_dict()["best"] == vars(result.best)


def test_a_model_that_predicts_one_label_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    best = EpochResult(1, 2.0, 40.0, None, 40.0, 12.5, 1.0, only_label="sadness")
    monkeypatch.setattr("fer_edge.training.run._run", lambda *_: best)
    result = train(make_folders(tmp_path / "own"), tmp_path / "run", settings=SMALL)
    assert result is not None and result.to_dict()["best"]["only_label"] == "sadness"
    assert caplog.messages == [
        "the model predicts sadness for every validation image: it has learned nothing; train more epochs, or start "
        "from a checkpoint with --init edge"
    ]
