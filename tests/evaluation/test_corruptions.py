"""Corruptions of face crops: seeds, shapes, strengths, and the scores and mean over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fer_edge.crop import crop_and_resize
from fer_edge.data.sources import image_set
from fer_edge.evaluation.accuracy import run_all
from fer_edge.evaluation.corruption_scores import Robustness, measure_robustness
from fer_edge.evaluation.corruptions import CORRUPTIONS, UNCHANGED, Corruption, corrupt
from fer_edge.evaluation.evaluate import evaluate
from fer_edge.evaluation.intervals import interval_of_mean
from fer_edge.evaluation.open_model import open_model
from fer_edge.results import WIDTH
from tests.tiny import LABELS, tiny_bundle

Pixels = npt.NDArray[np.uint8]
BY_NAME = {corruption.name: corruption for corruption in CORRUPTIONS}


def smooth_faces(count: int, side: int = 48, channels: tuple[int, ...] = ()) -> Pixels:
    """Return pictures with structure at several scales."""
    random = np.random.default_rng(3)
    faces = []
    for _ in range(count):
        coarse = random.integers(40, 215, (9, 9, 3), dtype=np.uint8)
        face = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        faces.append(np.asarray(face if channels else face.convert("L")))
    return np.stack(faces)


def damage(name: str, faces: Pixels) -> float:
    """Return the mean distance between damaged and undamaged pictures, in levels."""
    changed, same = corrupt(faces, BY_NAME[name]), corrupt(faces, UNCHANGED)
    return float(np.abs(changed.astype(np.float64) - same).mean())


def test_names_are_unique_and_kinds_are_contiguous() -> None:
    assert len(BY_NAME) == len(CORRUPTIONS)
    kinds = [corruption.kind for corruption in CORRUPTIONS]
    assert sum(a != b for a, b in pairwise(kinds)) == len(set(kinds)) - 1
    assert all(corruption.strength for corruption in CORRUPTIONS)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.name)
def test_each_corruption_changes_pictures_alike_in_any_order(corruption: Corruption) -> None:
    faces, order = smooth_faces(4, channels=(3,)), [2, 0]
    before = faces.copy()
    changed = corrupt(faces, corruption)
    assert changed.shape == (4, 112, 112, 3)
    assert changed.dtype == np.uint8
    assert (changed != corrupt(faces, UNCHANGED)).any()
    assert (changed[order] == corrupt(faces[order], corruption)).all()
    assert (faces == before).all()
    for side in (20, 112, 150):
        assert corrupt(smooth_faces(1, side), corruption).shape == (1, 112, 112)


def test_noise_depends_on_picture_and_seed() -> None:
    noise = BY_NAME["noise 25"]
    flat = np.full((1, 48, 48), 128, np.uint8)
    assert (corrupt(flat, noise, seed=0) != corrupt(flat, noise, seed=1)).any()
    assert (corrupt(flat, noise)[0].astype(int) - 128 != corrupt(flat + 1, noise)[0].astype(int) - 129).any()


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("side", [48, 112, 160])
def test_unchanged_pictures_are_those_of_the_runtime(side: int, channels: tuple[int, ...]) -> None:
    faces = smooth_faces(2, side, channels)
    for face, prepared in zip(faces, corrupt(faces, UNCHANGED), strict=True):
        rgb = face if channels else np.dstack([face] * 3)
        assert (crop_and_resize(rgb) == (prepared if channels else np.dstack([prepared] * 3))).all()


@pytest.mark.parametrize(
    "names",
    [
        [f"shift {direction} {percent} %" for percent in (5, 10, 20)]
        for direction in ("right", "left", "down", "up")
    ]
    + [
        ["box x 0.9", "box x 0.8", "box x 0.7"],
        ["box x 1.1", "box x 1.2", "box x 1.4"],
        ["turned 10", "turned 20", "turned 30"],
        ["turned -10", "turned -20", "turned -30"],
        ["brightness -40", "brightness -80"],
        ["brightness +40", "brightness +80"],
        ["contrast x 0.5", "contrast x 0.25"],
        ["JPEG 50", "JPEG 20", "JPEG 10"],
        ["downscaled to 32", "downscaled to 24", "downscaled to 16", "downscaled to 12"],
        ["blur 1", "blur 2"],
        ["noise 10", "noise 25"],
    ],
    ids=lambda names: names[0],
)  # fmt: skip
@pytest.mark.parametrize("side", [48, 112])
def test_damage_grows_with_the_strength(names: list[str], side: int) -> None:
    faces = smooth_faces(8, side)
    amounts = [damage(name, faces) for name in names]
    assert amounts == sorted(set(amounts)), dict(zip(names, amounts, strict=True))


def test_directions() -> None:
    face = np.zeros((1, 48, 48), np.uint8)
    face[0, 20:28, 20:28] = 255  # a bright centre

    def centre(name: str) -> tuple[float, float]:
        picture = corrupt(face, BY_NAME[name])[0].astype(np.float64)
        y, x = np.indices(picture.shape)
        return float((x * picture).sum() / picture.sum()), float((y * picture).sum() / picture.sum())

    middle = centre("box x 1.1")
    assert middle == pytest.approx((55.5, 55.5), abs=0.5)
    assert centre("shift right 20 %") == pytest.approx((55.5 - 22.4, 55.5), abs=0.5)  # the box moves, the face remains
    assert centre("shift up 20 %") == pytest.approx((55.5, 55.5 + 22.4), abs=0.5)
    assert centre("turned 30") == pytest.approx((55.5, 55.5), abs=0.5)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1, 48, 40), np.uint8), ((48, 48), np.uint8), ((1, 48, 48, 4), np.uint8), ((1, 8, 8), float)]
)
def test_other_arrays_are_refused(shape: tuple[int, ...], dtype: type) -> None:
    with pytest.raises(ValueError, match=r"the pictures are .*; expected uint8 \(N, S, S\) or \(N, S, S, 3\)"):
        corrupt(np.zeros(shape, dtype), UNCHANGED)


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    for label, pixels in zip(LABELS, np.split(smooth_faces(9, channels=(3,)), 3), strict=True):
        (tmp_path / "faces" / label).mkdir(parents=True)
        for index, picture in enumerate(pixels):
            side = (48, 64, 130)[index]
            Image.fromarray(picture).resize((side, 48)).save(tmp_path / "faces" / label / f"{index}.png")
    return tmp_path / "faces"


def robustness(model: Path, data: Path) -> Robustness:
    result = evaluate(model, data, engine="onnxruntime", corruptions=True)
    assert result.robustness is not None
    return result.robustness


def test_mean_is_over_strengths_first_and_over_kinds_then(tmp_path: Path, faces: Path) -> None:
    scores = robustness(tiny_bundle(tmp_path / "tiny.fer"), faces)
    assert {score.name for score in scores.corruptions} == set(BY_NAME)
    by_kind: dict[str, list[float]] = {}
    for score in scores.corruptions:
        by_kind.setdefault(score.kind, []).append(score.accuracy)
    means = {kind: sum(values) / len(values) for kind, values in by_kind.items()}
    assert {kind: score.accuracy for kind, score in scores.kinds.items()} == pytest.approx(means, abs=1e-3)
    assert scores.accuracy == pytest.approx(sum(means.values()) / len(means), abs=1e-2)
    assert scores.accuracy_interval.low <= scores.accuracy <= scores.accuracy_interval.high


def test_grey_pictures_have_no_row_for_grey(tmp_path: Path, faces: Path) -> None:
    for path in faces.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    names = {score.name for score in robustness(tiny_bundle(tmp_path / "tiny.fer"), faces).corruptions}
    assert set(BY_NAME) - names == {"grey"}


def test_scores_do_not_depend_on_the_batch(tmp_path: Path, faces: Path) -> None:
    small = robustness(tiny_bundle(tmp_path / "small.fer", max_batch=1), faces)
    assert small == robustness(tiny_bundle(tmp_path / "large.fer", max_batch=8), faces)


def test_progress_counts_every_damaged_image(tmp_path: Path, faces: Path) -> None:
    steps: dict[str, list[int]] = {}

    @contextmanager
    def record(title: str, total: int) -> Iterator[Callable[[int], None]]:
        steps[title] = [total, 0]

        def advance(count: int) -> None:
            steps[title][1] += count

        yield advance

    opened = open_model(tiny_bundle(tmp_path / "tiny.fer"), "onnxruntime")
    with opened.runner:
        outputs = run_all(opened.runner, image_set(faces, opened.labels, opened.words))
        measure_robustness(opened.runner, outputs, record)
    assert steps == {"corruptions": [9 * len(CORRUPTIONS)] * 2}


def test_interruption_keeps_the_accuracy_without_corruptions(tmp_path: Path, faces: Path) -> None:
    @contextmanager
    def interrupt(title: str, total: int) -> Iterator[Callable[[int], None]]:
        def advance(count: int) -> None:
            if title == "corruptions":
                raise KeyboardInterrupt

        yield advance

    bundle = tiny_bundle(tmp_path / "tiny.fer")
    accuracy = evaluate(bundle, faces, engine="onnxruntime").accuracy
    with pytest.raises(KeyboardInterrupt, match=f"corruptions of 0 of 9 images; .* {accuracy:.2f} %"):
        evaluate(bundle, faces, engine="onnxruntime", corruptions=True, progress=interrupt)


def test_tables_fit_80_columns(tmp_path: Path, faces: Path) -> None:
    result = evaluate(tiny_bundle(tmp_path / "tiny.fer"), faces, engine="onnxruntime", corruptions=True)
    text = str(result)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "accuracy, mean over corruptions" in text
    for name in BY_NAME:
        assert name in text


def test_interval_of_a_mean() -> None:
    random = np.random.default_rng(0)
    interval = interval_of_mean(random.random(1000))  # standard deviation 0.289
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * 28.9 / 1000**0.5, rel=0.05)
    assert (interval_of_mean(np.ones(1)).low, interval_of_mean(np.ones(1)).high) == (0, 100)
