"""Crops of the C library: the pixels of Python's, for frames of all formats."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fer_edge.boxes import check_plausible
from fer_edge.crop import crop_and_resize
from fer_edge.errors import InputError
from fer_edge.faces.face import TARGET, Face, crop_to_frame
from fer_edge.faces.geometry import Square, resample
from tests.native.library import AnyFace, Library, NativeError

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (900, 900, 3), dtype=np.uint8)


def random_frame(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return a part of a fixed noise image, with rows that are not contiguous."""
    width, height = np.exp(rng.uniform(math.log(1), math.log(600), 2)).astype(int)
    left, top = rng.integers(0, 300, 2)
    return NOISE[top : top + height, left : left + width]


def random_box(rng: np.random.Generator, frame: npt.NDArray[np.uint8]) -> tuple[float, float, float, float]:
    height, width = frame.shape[:2]
    w, h = rng.uniform(0.05, 1.5, 2) * max(width, height)
    x, y = rng.uniform(-0.7, 0.9) * width, rng.uniform(-0.7, 0.9) * height
    return (x, y, w, h) if rng.random() < 0.7 else (round(x), round(y), round(w), round(h))


def random_face(rng: np.random.Generator, frame: npt.NDArray[np.uint8]) -> Face:
    """Return a turned face with moved points; some do not look like a face, and are cropped by their box."""
    height, width = frame.shape[:2]
    side = float(np.exp(rng.uniform(math.log(20), math.log(2 * max(width, height, 20)))))
    square = Square(rng.uniform(0, width), rng.uniform(0, height), side, rng.normal() * 0.6)
    four = square.from_input(112).apply(TARGET + rng.normal(size=(4, 2)) * rng.choice([2.0, 40.0]))
    points = np.insert(four, 2, four.mean(axis=0), axis=0)
    return Face((square.x - side / 2, square.y - side / 2, side, side), 0.9, points)


def expected_crop(frame: npt.NDArray[np.uint8], face: AnyFace) -> npt.NDArray[np.uint8]:
    """Return the crop as Python's recognizer makes it.

    Raises:
        InputError: Box that the recognizer refuses.
    """
    to_frame = crop_to_frame(face) if isinstance(face, Face) else None
    box = face.box if isinstance(face, Face) else face
    if box is not None and not isinstance(face, Face):
        check_plausible(box, frame.shape[1], frame.shape[0])
    crop = crop_and_resize(np.ascontiguousarray(frame), box)
    if to_frame is None:
        return crop
    return resample(np.ascontiguousarray(frame), to_frame, np.empty((112, 112, 3), np.uint8))


def check_random_crops(library: Library, make: Any, count: int, seed: int) -> tuple[int, int]:
    """Compare random crops; return the number of equal ones and of those that both refuse."""
    rng = np.random.default_rng(seed)
    equal = refused = 0
    for index in range(count):
        frame = random_frame(rng)
        face = make(rng, frame)
        try:
            expected = expected_crop(frame, face)
        except InputError as error:
            with pytest.raises(NativeError) as caught:
                library.crop(frame, face)
            assert str(caught.value).split(")")[0] == str(error).split(")")[0]  # box or faulty point
            refused += 1
            continue
        assert np.array_equal(library.crop(frame, face), expected), (index, frame.shape, face)
        equal += 1
    return equal, refused


@pytest.mark.parametrize("count", [100, pytest.param(1300, marks=pytest.mark.slow)])
def test_boxes_give_the_pixels_of_python(library: Library, count: int) -> None:
    equal, refused = check_random_crops(library, random_box, count, seed=1)
    assert equal >= count * 0.7 and refused


@pytest.mark.parametrize("count", [100, pytest.param(1300, marks=pytest.mark.slow)])
def test_aligned_faces_give_the_pixels_of_python(library: Library, count: int) -> None:
    rng = np.random.default_rng(2)
    aligned = sum(crop_to_frame(random_face(rng, NOISE)) is not None for _ in range(100))
    assert 30 <= aligned <= 90  # both ways of cropping are compared
    equal, _ = check_random_crops(library, random_face, count, seed=2)
    assert equal >= count * 0.9


def test_points_on_whole_pixels_give_the_pixels_of_python(library: Library) -> None:
    """On an exact grid, a difference of the last bit changes pixels by a level."""
    for side in range(28, 300, 28):
        for shift in (0, 10, 25.5):
            points = np.insert(TARGET, 2, (56.0, 60.0), axis=0) * (side / 112) + shift
            face = Face((shift, shift, side, side), 1.0, points)
            assert np.array_equal(library.crop(NOISE, face), expected_crop(NOISE, face)), (side, shift)


def test_whole_frames_and_large_frames(library: Library) -> None:
    for shape in ((1, 1), (112, 112), (48, 48), (7, 400), (900, 900)):
        frame = NOISE[: shape[0], : shape[1]]
        assert np.array_equal(library.crop(frame), expected_crop(frame, None))
    frame = np.tile(NOISE, (3, 4, 1))
    for box in ((10.0, 20.0, 3000.0, 2500.0), (-900.0, -700.0, 9000.0, 9000.0)):
        assert np.array_equal(library.crop(frame, box), expected_crop(frame, box))
    face = random_face(np.random.default_rng(7), frame)
    assert np.array_equal(library.crop(frame, face), expected_crop(frame, face))


@pytest.mark.parametrize("face", [None, (30.0, 10.0, 90.0, 95.0), random_face(np.random.default_rng(4), NOISE)])
def test_formats_and_strides_give_the_same_pixels(library: Library, face: AnyFace) -> None:
    rgb = NOISE[:200, :300]
    expected = expected_crop(rgb, face)
    alpha = RNG.integers(0, 256, (*rgb.shape[:2], 1), dtype=np.uint8)
    frames = {
        "rgb": rgb,
        "bgr": rgb[:, :, ::-1],
        "rgba": np.concatenate([rgb, alpha], axis=2),
        "bgra": np.concatenate([rgb[:, :, ::-1], alpha], axis=2),
    }
    for color, frame in frames.items():
        copy = np.ascontiguousarray(frame)
        upside_down = np.ascontiguousarray(frame[::-1])[::-1]
        padded = np.pad(copy, ((0, 0), (0, 5), (0, 0)))[:, : rgb.shape[1]]
        for variant in (copy, upside_down, padded):
            assert np.array_equal(library.crop(variant, face, color), expected), color
    grey = np.ascontiguousarray(rgb[:, :, 1])
    assert np.array_equal(library.crop(grey, face, "grey"), expected_crop(np.dstack([grey] * 3), face))


@pytest.mark.parametrize(
    ("face", "message"),
    [
        ((1.0, 2.0, math.nan, 4.0), "is not finite"),
        ((10.0, 10.0, 0.0, 20.0), "is empty; expected a positive width and height in pixels"),
        ((10.0, 10.0, -5.0, 20.0), "is empty"),
        ((0.1, 0.2, 0.3, 0.4), "looks like fractions of the frame; expected pixels"),
        ((10.0, 10.0, 3.0, 30.0), "is smaller than 4 pixels"),
        ((200.0, 100.0, 270.0, 180.0), "looks like corners"),
        ((400.0, 10.0, 50.0, 50.0), "is outside of the frame"),
        ((0.0, 0.0, 1e300, 50.0), "is more than 8 times as large as the frame"),
        (Face((10, 10, 50, 50), 1.0, np.full((5, 2), np.inf)), "point 0 of the face is not finite"),
    ],
)
def test_wrong_faces_are_refused(library: Library, face: AnyFace, message: str) -> None:
    with pytest.raises(NativeError, match=message) as caught:
        library.crop(NOISE[:200, :300], face)
    assert caught.value.status == 1


def test_points_far_away_give_a_black_crop(library: Library) -> None:
    points = Square(1e9, -1e9, 100).from_input(112).apply(np.insert(TARGET, 2, (56.0, 60.0), axis=0))
    face = Face((10, 10, 100, 100), 0.9, points)
    assert crop_to_frame(face) is not None
    assert not library.crop(NOISE[:200, :300], face).any()
