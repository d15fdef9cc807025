"""Calibration sets: the same images every time, or an error that names the changed one."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from PIL import Image

from fer_edge._files import file_sha256
from fer_edge.calibration.images import CalibrationImage, CalibrationSet, choose_images, read_set
from fer_edge.data.images import ImageSet
from fer_edge.data.layouts import read_split
from fer_edge.errors import DataError
from fer_edge.export.calibrate import calibrate
from fer_edge.images import decode as images_decode
from fer_edge.labels import FERPLUS
from fer_edge.walk import count_reasons
from tests.calibration.tiny_ranges import TinyCalibration
from tests.synthetic import make_ferplus


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_ferplus(tmp_path / "ferplus", train=90)


def chosen(root: Path, count: int = 60, seed: int = 0) -> CalibrationSet:
    return choose_images(read_split(root, "train"), root, count, seed).set


def images(count: int, label: str | None = None) -> tuple[CalibrationImage, ...]:
    names = FERPLUS.labels
    return tuple(CalibrationImage(f"{i}.png", f"{i:064}", label or names[i % 3]) for i in range(count))


def test_choice_depends_on_the_seed_and_is_balanced(root: Path) -> None:
    first = chosen(root)
    assert first == chosen(root) != chosen(root, seed=1)
    assert first.summary()["classes"] == {"happiness": 20, "neutral": 20, "surprise": 20}
    assert all(image.file.startswith("FER2013Train/") for image in first.images)
    # Classes alternate, so that every batch contains all of them.
    assert len({image.label for image in first.images[:3]}) == 3


def test_rare_class_contributes_all_its_images(root: Path) -> None:
    split = read_split(root, "train")
    indices = [index for index in range(90) if split.required_labels[index] != 1 or index < 10]
    classes = choose_images(split.take(np.array(indices)), root, 60).set.summary()["classes"]
    assert classes == {"happiness": 3, "neutral": 29, "surprise": 28}


def test_black_small_duplicate_and_damaged_images_are_left_out(root: Path) -> None:
    folder = root / "FER2013Train"
    Image.new("L", (48, 48)).save(folder / "0.png")
    Image.new("L", (31, 48), 200).save(folder / "3.png")
    (folder / "6.png").write_bytes((folder / "9.png").read_bytes())
    (folder / "12.png").write_bytes(b"no image")
    images = chosen(root, 90).images
    names = {Path(image.file).stem for image in images}
    assert len(images) == 86 and not names & {"0", "3", "12"} and len(names & {"6", "9"}) == 1


def test_file_contains_no_pixels_and_is_read_back_equal(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    calibration_set = chosen(root)
    calibration_set.save(path)
    assert read_set(path) == calibration_set
    assert set(json.loads(path.read_text())["images"][0]) == {"file", "sha256", "label", "box"}
    assert len(path.read_text().splitlines()) == 60 + 7


def test_batches_can_be_iterated_twice(root: Path) -> None:
    opened = chosen(root).open(root)
    first, second = (list(opened.batches(16)) for _ in range(2))
    assert [len(batch) for batch in first] == [16, 16, 16, 12]
    assert first[0].shape == (16, 112, 112, 3) and first[0].dtype == np.uint8
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (images(31), "a calibration set of 31 images; expected at least 32"),
        (images(40, "happiness"), "all 40 images show happiness; expected several classes"),
        ((*images(40), CalibrationImage("again.png", f"{5:064}", "anger")), r"again\.png is a copy of 5\.png"),
    ],
)
def test_unfit_sets_are_refused(members: tuple[CalibrationImage, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        CalibrationSet("test", 0, members)


def test_changed_and_missing_images_are_named(root: Path) -> None:
    calibration_set = chosen(root)
    path = root / calibration_set.images[7].file
    data = path.read_bytes()
    Image.new("L", (48, 48), 90).save(path)
    with pytest.raises(DataError, match=f"the SHA-256 of .*{path.name} differs from the one in the calibration set"):
        calibration_set.open(root)
    path.unlink()
    with pytest.raises(DataError, match=rf"{path.name} of FERPlus train cannot be read .*; restore the file"):
        calibration_set.open(root)
    path.write_bytes(data)
    calibration_set.open(root)


def test_black_image_in_a_set_is_refused(root: Path) -> None:
    from fer_edge._files import sha256

    black = root / "black.png"
    Image.new("L", (48, 48)).save(black)
    unfit = CalibrationImage("black.png", sha256(black.read_bytes()), "anger")
    with pytest.raises(DataError, match=r"black\.png: the image is all black"):
        CalibrationSet("test", 0, (*chosen(root).images, unfit)).open(root)


def test_files_outside_of_the_folder_are_refused_in_a_set(root: Path) -> None:
    outside = CalibrationImage("../secret.png", "0" * 64, "anger")
    with pytest.raises(DataError, match=r"secret\.png is outside of"):
        CalibrationSet("test", 0, (*chosen(root).images, outside)).open(root)


def test_images_can_be_links_to_another_folder(root: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in root.rglob("*"):
        here = linked / path.relative_to(root)
        if path.is_dir():
            here.mkdir()
        else:
            here.symlink_to(path)
    assert chosen(linked) == chosen(root)
    assert len(list(chosen(linked).open(linked).batches(8))) == len(list(chosen(root).open(root).batches(8)))


def test_chosen_images_are_those_of_their_file(root: Path) -> None:
    choice = choose_images(read_split(root, "train"), root, 60)
    opened = choice.set.open(root)
    assert choice.faces.paths == opened.faces.paths
    assert all(np.array_equal(a, b) for a, b in zip(choice.batches(16), opened.batches(16), strict=True))
    names = [FERPLUS.labels[label] for label in choice.faces.required_labels]
    assert names == [image.label for image in choice.set.images]


def test_faces_of_large_sets_are_not_held_in_memory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = choose_images(read_split(root, "train"), root, 60)
    monkeypatch.setattr("fer_edge.calibration.images.MAX_HELD", 59)
    streamed = choose_images(read_split(root, "train"), root, 60), held.set.open(root)
    assert held.faces.pixels is not None and [images.faces.pixels for images in streamed] == [None, None]
    for images in streamed:
        assert all(np.array_equal(a, b) for a, b in zip(images.batches(16), held.batches(16), strict=True))


def image(**changes: object) -> str:
    entry = {"file": "a.png", "sha256": "0", "label": "anger", "box": None, **changes}
    return json.dumps({"format": 1, "source": "x", "seed": 0, "images": [entry]})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"format": 9}',
        "[" * 100_000,
        '{"format": 1, "source": "x", "seed": 0, "images": [1]}',
        '{"format": 1, "source": "x", "seed": Infinity, "images": []}',
        image(file=1),
        image(file="a\0b.png"),
        image(box=[1, 2]),
        image(box=[1, 2, 3, 10**400]),
        image(pixels="none"),
    ],
)
def test_malformed_set_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    path.write_text(text)
    with pytest.raises(DataError, match="is not a calibration set that this version can read"):
        read_set(path)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_set(tmp_path / "none.json")


def test_boxes_are_stored_with_the_images(tmp_path: Path) -> None:
    paths = []
    for index in range(40):
        paths.append(tmp_path / f"{index}.png")
        noise = np.random.default_rng(index).integers(0, 256, (60, 80), dtype=np.uint8)
        Image.fromarray(noise).save(paths[-1])
    labels = np.arange(40) % 4
    data = ImageSet(tuple(paths), labels, ((10.0, 5.0, 40.0, 40.0),) * 40, "boxes", label_set=FERPLUS)
    choose_images(data, tmp_path, 40).set.save(tmp_path / "set.json")
    stored = read_set(tmp_path / "set.json")
    image = stored.images[0]
    assert image.box == (10.0, 5.0, 40.0, 40.0)
    whole = replace(stored, images=tuple(replace(image, box=None) for image in stored.images))
    cropped, uncropped = (next(images.open(tmp_path).batches(1)) for images in (stored, whole))
    assert not np.array_equal(cropped, uncropped)


def boxed(folder: Path, box: tuple[float, float, float, float]) -> ImageSet:
    """Write 40 images into a folder; the first has the given box."""
    folder.mkdir()
    paths = [folder / f"{index}.png" for index in range(40)]
    for index, path in enumerate(paths):
        Image.fromarray(np.random.default_rng(index).integers(0, 256, (60, 80), dtype=np.uint8)).save(path)
    boxes = (box, *((10.0, 5.0, 40.0, 40.0),) * 39)
    return ImageSet(tuple(paths), np.arange(40) % 4, boxes, "boxes", label_set=FERPLUS)


def test_image_with_a_box_outside_is_left_out(tmp_path: Path) -> None:
    data = boxed(tmp_path / "faces", (200.0, 5.0, 40.0, 40.0))
    calibration_set = choose_images(data, tmp_path / "faces", 40).set
    assert len(calibration_set) == 39 and "0.png" not in {image.file for image in calibration_set.images}
    first = replace(calibration_set.images[0], box=(200.0, 5.0, 40.0, 40.0))
    with pytest.raises(DataError, match=r"\.png: box .* outside of the frame of 80 x 60 pixels"):
        replace(calibration_set, images=(first, *calibration_set.images[1:])).open(tmp_path / "faces")


def test_reasons_of_left_out_images_are_counted(root: Path) -> None:
    folder = root / "FER2013Train"
    Image.new("L", (48, 48)).save(folder / "0.png")
    Image.new("L", (31, 48), 200).save(folder / "3.png")
    (folder / "6.png").write_bytes((folder / "9.png").read_bytes())
    (folder / "12.png").write_bytes(b"no image")
    choice = choose_images(read_split(root, "train"), root, 90)
    assert count_reasons(choice.faces.left_out) == {
        "image without a pixel brighter than 8 of 255": 1,
        "face of less than 32 x 32 pixels": 1,
        "copy of another image": 1,
        "unreadable or damaged image": 1,
    }
    again = choose_images(read_split(root, "train"), root, 90)
    assert choice.set == again.set and choice.faces.left_out == again.faces.left_out


def test_too_few_images_give_the_reasons_of_the_others(root: Path) -> None:
    split = read_split(root, "train")
    for path in split.paths[:40]:
        path.write_bytes(b"no image")
    for path in split.paths[40:80]:
        path.write_bytes(split.paths[80].read_bytes())
    with pytest.raises(
        DataError,
        match=r"FERPlus train: a calibration set of \d+ images; expected at least 32; .*"
        r"left out 40: unreadable or damaged image, such as .*\.png",
    ):
        choose_images(split, root, 60)
    with pytest.raises(DataError, match=r"a calibration set of 5 images; expected at least 32$"):
        choose_images(split, root, 5)


def test_missing_image_is_named(tmp_path: Path) -> None:
    data = boxed(tmp_path / "faces", (10.0, 5.0, 40.0, 40.0))
    data.paths[3].unlink()
    with pytest.raises(
        DataError, match=r"3\.png of boxes cannot be read \(No such file.*restore the file, or choose other images"
    ):
        choose_images(data, tmp_path / "faces", 40)


def test_images_outside_of_the_folder_are_refused(tmp_path: Path) -> None:
    data = boxed(tmp_path / "faces", (10.0, 5.0, 40.0, 40.0))
    (tmp_path / "lists").mkdir()
    with pytest.raises(DataError, match=r"\.png is outside of .*lists; .*: move the images there, or name the folder"):
        choose_images(data, tmp_path / "lists", 40)


def test_list_file_stands_for_its_folder(tmp_path: Path) -> None:
    data = boxed(tmp_path / "faces", (10.0, 5.0, 40.0, 40.0))
    table = tmp_path / "train.txt"
    names = FERPLUS.labels
    rows = [f"{path} {names[label]} {label}" for path, label in zip(data.paths, data.required_labels, strict=True)]
    table.write_text("\n".join(rows))
    calibration_set = choose_images(read_split(table, "train"), table, 40).set
    assert {image.file for image in calibration_set.images} == {f"faces/{index}.png" for index in range(40)}
    assert {path.parent for path in calibration_set.open(table).faces.paths} == {tmp_path / "faces"}


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Counter[str], Counter[str]]]:
    """Count the decodes and the hashes of each content, by its SHA-256."""
    decodes: Counter[str] = Counter()
    hashes: Counter[str] = Counter()
    decode, sha256 = images_decode._decode, hashlib.sha256

    def counted_decode(file: BinaryIO, name: str, limit: int) -> Any:
        file.seek(0)
        decodes[sha256(file.read()).hexdigest()] += 1
        file.seek(0)
        return decode(file, name, limit)

    def counted_hash(data: bytes = b"") -> Any:
        digest = sha256(data)
        hashes[digest.hexdigest()] += 1
        return digest

    monkeypatch.setattr(images_decode, "_decode", counted_decode)
    monkeypatch.setattr(hashlib, "sha256", counted_hash)
    yield decodes, hashes


def test_calibration_decodes_and_hashes_each_image_once(
    counts: tuple[Counter[str], Counter[str]], tiny_calibration: TinyCalibration, tmp_path: Path
) -> None:
    tiny = tiny_calibration
    chosen = dict.fromkeys((image.sha256 for image in read_set(tiny.calibration_set).images), 1)
    scored = dict.fromkeys((file_sha256(path) for path in read_split(tiny.data, "valid").paths), 1)
    state = Path(shutil.copy(tiny.state, tmp_path))
    for data in counts:
        data.clear()
    # A new set, its ranges, and the search on the validation images.
    options: dict[str, Any] = {"count": 48, "max_drop": 50, "engine": "onnxruntime", "threads": 1, "state": state}
    calibrate(tiny.checkpoint, tiny.data, **options)
    decodes, hashes = counts
    assert decodes == {**chosen, **scored}
    assert {digest: hashes[digest] for digest in chosen} == chosen
    # An existing set, and a method with two passes over its images.
    for data in counts:
        data.clear()
    calibrate(tiny.checkpoint, tiny.data, calibration_set=tiny.calibration_set, method="mse")
    assert decodes == chosen and {digest: hashes[digest] for digest in chosen} == chosen
