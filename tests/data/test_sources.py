"""Image sets: labels matched with a model, and reasons for images left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fer_edge.choices import Split
from fer_edge.data.images import UNCOUNTED
from fer_edge.data.sources import check_split, image_set
from fer_edge.errors import ConfigError, DataError, ImageError
from fer_edge.evaluation.accuracy import run_all
from fer_edge.evaluation.evaluate import evaluate
from fer_edge.evaluation.parity import parity
from fer_edge.evaluation.temperature import fit_temperature
from fer_edge.export.tensor_parity import compare_tensors
from fer_edge.labels import FERPLUS, RAFDB
from fer_edge.walk import count_reasons
from tests.evaluation.test_evaluation import Planted
from tests.synthetic import face, make_ferplus

ADJECTIVES = ("neutral", "happy", "surprised", "sad", "angry", "disgusted", "fearful", "contempt")
LACKING = "label contempt, which the model does not have"


def class_folders(root: Path, names: tuple[str, ...] = ADJECTIVES) -> Path:
    for index, name in enumerate(names):
        face(root / name / "a.png", index, index, 8)
    return root


@pytest.mark.parametrize("below", ["", "valid"])
def test_adjectives_name_class_folders(below: str, tmp_path: Path) -> None:
    class_folders(tmp_path / below)
    if below:
        class_folders(tmp_path / "train")
    images = image_set(tmp_path, FERPLUS.labels)
    assert images.labels is not None and sorted(images.labels.tolist()) == list(range(8)) and images.left_out == ()
    fewer = image_set(tmp_path, RAFDB.labels)
    assert len(fewer) == 7 and count_reasons(fewer.left_out) == {LACKING: 1}


def test_data_set_without_training_images_is_detected(tmp_path: Path) -> None:
    class_folders(tmp_path / "Test")
    assert image_set(tmp_path, FERPLUS.labels, split="test").labels is not None
    assert image_set(tmp_path, FERPLUS.labels).labels is None
    with pytest.raises(ConfigError, match=r"split has no effect: .* has no splits; leave it out"):
        image_set(tmp_path, FERPLUS.labels, split="valid")


@pytest.mark.parametrize("below", ["", "valid"])
def test_misspelt_class_folder_is_an_error(below: str, tmp_path: Path) -> None:
    class_folders(tmp_path / below, ("neutral", "happyness", "sad"))
    if below:
        class_folders(tmp_path / "train", ("neutral", "happiness", "sad"))
    with pytest.raises(DataError, match=r"happyness; did you mean happiness\? expected some of: neutral, happiness"):
        image_set(tmp_path, FERPLUS.labels)


@pytest.mark.parametrize("names", [("0", "1", "2"), ("3_happy", "4_sad"), ("happyness",)])
def test_unknown_folder_names_are_listed_if_labels_are_needed(names: tuple[str, ...], tmp_path: Path) -> None:
    images = image_set(class_folders(tmp_path / "n", names), FERPLUS.labels)
    assert images.labels is None and len(images) == len(names)
    with pytest.raises(DataError) as caught:
        run_all(Planted(), images)
    message = str(caught.value)
    assert message.startswith(f"these images have no labels: the folders of {tmp_path / 'n'} are not labels: ")
    assert ", ".join(names) in message
    assert "expected some of: neutral, happiness, surprise" in message and message.endswith("rename the folders")


def test_hidden_folders_and_other_formats_are_left_out(tmp_path: Path) -> None:
    class_folders(tmp_path)
    face(tmp_path / "happy" / ".ipynb_checkpoints" / "a-checkpoint.png", 0, 0, 8)
    face(tmp_path / ".cache" / "a.png", 0, 0, 8)
    face(tmp_path / "happy" / "@eaDir" / "a.png", 0, 0, 8)
    (tmp_path / "happy" / "b.heic").touch()
    images = image_set(tmp_path, FERPLUS.labels)
    assert len(images) == 8
    reasons = {"hidden folder": 2, "thumbnail folder": 1, "HEIC image (convert to JPEG or PNG)": 1}
    assert count_reasons(images.left_out) == reasons
    assert images.limit(3).left_out == images.take(np.array([0])).left_out == images.left_out


def test_unlabelled_folder_lists_files_left_out(tmp_path: Path) -> None:
    face(tmp_path / "a.png", 0, 0, 8)
    (tmp_path / "b.heic").touch()
    assert count_reasons(image_set(tmp_path, RAFDB.labels).left_out) == {"HEIC image (convert to JPEG or PNG)": 1}
    (tmp_path / "a.png").unlink()
    with pytest.raises(ImageError, match=r"no images below .*; left out 1: HEIC image"):
        image_set(tmp_path, RAFDB.labels)


def test_images_without_a_majority_are_left_out(tmp_path: Path) -> None:
    root = make_ferplus(tmp_path)
    table = root / "FER2013Valid" / "label.csv"
    lines = table.read_text().splitlines()
    lines[4] = '4.png,"(0, 0, 48, 48)",3,3,0,0,0,0,0,0,3,0'
    table.write_text("\n".join(lines))
    images = image_set(root, FERPLUS.labels)
    assert len(images) == 11 and count_reasons(images.left_out) == {UNCOUNTED: 1}


def test_unknown_split_and_zero_images_are_refused(tmp_path: Path) -> None:
    root = class_folders(tmp_path)
    with pytest.raises(ConfigError, match="no split 'val'; expected one of: train, valid, test"):
        image_set(root, FERPLUS.labels, split="val")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the number of images is 0; expected at least 1"):
        image_set(root, FERPLUS.labels).limit(0)


@pytest.mark.parametrize("below", ["", "happiness"])
def test_split_of_images_without_splits_is_refused(below: str, tmp_path: Path) -> None:
    root = class_folders(tmp_path) / below
    face(root / "a.png", 0, 0, 8)
    check_split(root, None)
    with pytest.raises(ConfigError, match=r"split has no effect: .* has no splits; leave it out"):
        image_set(root, FERPLUS.labels, split="valid")


def test_calls_refuse_a_split_of_images_without_splits(tmp_path: Path) -> None:
    images = class_folders(tmp_path / "faces")
    calls: dict[str, Callable[[Split], object]] = {
        "evaluate": lambda split: evaluate("edge", images, split=split),
        "parity": lambda split: parity("edge", "edge", images, split=split),
        "tensors": lambda split: compare_tensors("edge", None, images, reference_bundle="edge", split=split),
        "temperature": lambda split: fit_temperature("edge", images, tmp_path / "out.safetensors", split=split),
    }
    for name, call in calls.items():
        with pytest.raises(ConfigError, match=f"^split has no effect: {images} has no splits; leave it out$"):
            pytest.fail(f"{name} accepted the split: {call('test')}")
