"""Face crops: frames, squares, padding, resampling."""

from __future__ import annotations

import hashlib
import math
import tracemalloc
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fer_edge import crop as crop_module
from fer_edge.boxes import find_region
from fer_edge.crop import crop_and_resize, crop_region
from fer_edge.engines.base import Images
from fer_edge.errors import InputError

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def test_crop_without_scaling_is_exact() -> None:
    frame = np.random.default_rng(2).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    assert np.array_equal(crop_and_resize(frame, (10, 20, 112, 112)), frame[20:132, 10:122])


def test_boxes_of_small_integers_do_not_overflow() -> None:
    frame = np.random.default_rng(4).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    box = np.array([200, 150, 80, 110], np.uint8)
    assert np.array_equal(crop_and_resize(frame, tuple(box)), crop_and_resize(frame, (200, 150, 80, 110)))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (RGB.astype(float), r"float64 \(20, 30, 3\); .*, RGB: \(frame \* 255\).round"),
        (RGB[:, :, 0], r"uint8 \(20, 30\); .*: numpy.dstack\(\[grey\] \* 3\)"),
        (RGB[:, :, :1], r"uint8 \(20, 30, 1\); .*: numpy.dstack"),
        (np.dstack([RGB, RGB[:, :, 0]]), r"uint8 \(20, 30, 4\); .*: frame\[:, :, :3\]"),
        (RGB.transpose(2, 0, 1), r"uint8 \(3, 20, 30\); .*: frame.transpose\(1, 2, 0\)"),
        (RGB[None], r"uint8 \(1, 20, 30, 3\); .*: pass one frame at a time"),
        (RGB.astype(np.int32), r"int32 \(20, 30, 3\); expected a uint8 array"),
        (Image.fromarray(RGB), r'is Image; .*: numpy.asarray\(image.convert\("RGB"\)\)'),
        ("face.png", r"is str; .*: fer_edge.read_image"),
        (Path("face.png"), r"Path; .*: fer_edge.read_image"),
        (RGB.tobytes(), r"is bytes; .*: fer_edge.read_image"),
        (None, r"is NoneType; .*: the camera or video returned no frame"),
        (RGB.tolist(), r"is list; expected a uint8 array of shape \(height, width, 3\), RGB$"),
        (RGB[:0], r"is empty: shape \(0, 30, 3\)"),
    ],
)
def test_other_objects_are_refused_with_a_conversion(frame: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"the frame .*{message}"):
        crop_and_resize(frame)


@given(st.floats(-50, 80), st.floats(-50, 80), st.floats(-5, 80), st.floats(-5, 80), st.integers(1, 16))
def test_every_box_gives_a_crop_or_an_error(x: float, y: float, w: float, h: float, size: int) -> None:
    frame = np.full((20, 30, 3), 77, np.uint8)
    try:
        crop = crop_and_resize(frame, (x, y, w, h), size)
    except InputError:
        return
    assert crop.shape == (size, size, 3)
    assert crop.max() <= 77
    region = find_region((x, y, w, h), 30, 20)
    if region.x1 - region.x0 == region.side == region.y1 - region.y0:
        assert (crop == 77).all()


def test_crop_is_written_to_the_output_array() -> None:
    frame = np.random.default_rng(3).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    for box in ((10, 20, 112, 112), (10, 20, 90, 140), None):
        out = np.zeros((112, 112, 3), np.uint8)
        assert crop_and_resize(frame, box, out=out) is out
        assert np.array_equal(out, crop_and_resize(frame, box))


@pytest.mark.parametrize("box", [(-1, -1, 1.7e308, 1.7e308), (-1e9, -1e9, 3e9, 3e9), (0, 0, 241, 5)])
def test_huge_boxes_are_refused_without_allocating_memory(box: Any) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="is more than 8 times as large as the frame of 30 x 20 pixels"):
            crop_and_resize(RGB, box)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_crop_is_a_copy() -> None:
    frame = np.zeros((112, 112, 3), np.uint8)
    crop_and_resize(frame)[:] = 9
    assert not frame.any()


def pad(frame: Images, left: int, top: int, side: int) -> Images:
    """Return a square of a frame, black beyond it, by padding."""
    height, width = frame.shape[:2]
    wide = np.pad(frame, ((side, side), (side, side), (0, 0)))
    top, left = min(max(top, -side), height), min(max(left, -side), width)
    return wide[top + side : top + 2 * side, left + side : left + 2 * side]


def resample(square: Images, size: int) -> Images:
    """Resample with Pillow, horizontally and then vertically, as one call of Pillow up to 12 does."""
    image = Image.fromarray(np.ascontiguousarray(square))
    across = image.resize((size, len(square)), Image.Resampling.BILINEAR)
    return np.asarray(across.resize((size, size), Image.Resampling.BILINEAR))


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.tuples(st.integers(-90, 90), st.integers(-90, 90)),
    st.integers(1, 90),
    st.sampled_from([1, 8, 40, 112]),
    st.integers(1, 4000),
)
def test_crops_equal_those_of_padded_frames(
    shape: tuple[int, int], corner: tuple[int, int], side: int, size: int, band: int
) -> None:
    frame = np.random.default_rng(5).integers(0, 256, (*shape, 3), dtype=np.uint8)
    try:
        with mock.patch.object(crop_module, "BAND_BYTES", band):
            crop = crop_and_resize(frame, (*corner, side, side), size)
    except InputError as error:
        inside = [-side < place < length for place, length in zip(corner, shape[::-1], strict=True)]
        assert not all(inside) or "8 times" in str(error)
        return
    assert np.array_equal(crop, resample(pad(frame, *corner, side), size))


@given(st.floats(-40, 60), st.floats(-40, 60), st.floats(0.1, 80), st.floats(0.1, 80), st.integers(20, 60))
def test_region_is_a_square_around_the_box(x: float, y: float, w: float, h: float, width: int) -> None:
    try:
        region = find_region((x, y, w, h), width, 40)
    except InputError:
        return
    assert region.left <= x and region.left + region.side >= x + w
    assert region.top <= y and region.top + region.side >= y + h
    assert region.side < max(w, h) + 2
    assert math.isclose(region.left + region.side / 2, x + w / 2, abs_tol=1.01)
    assert math.isclose(region.top + region.side / 2, y + h / 2, abs_tol=1.01)
    assert 0 < region.share <= 1 + 1e-9
    assert 0 <= region.x0 < region.x1 <= width and 0 <= region.y0 < region.y1 <= 40


def test_face_beyond_the_edge_is_padded() -> None:
    frame = np.full((100, 100, 3), 200, np.uint8)
    crop = crop_and_resize(frame, (-25, 0, 100, 100), 112)
    assert (crop[:, :27] == 0).all() and (crop[:, 29:] == 200).all()


def test_oblong_boxes_are_extended_to_squares() -> None:
    frame = np.random.default_rng(6).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    assert np.array_equal(crop_and_resize(frame, (60, 40, 80, 120)), crop_and_resize(frame, (40, 40, 120, 120)))
    assert np.array_equal(crop_and_resize(frame, (40, 60, 120, 81)), crop_and_resize(frame, (40, 41, 120, 120)))


def test_whole_frame_is_padded_to_a_square() -> None:
    frame = np.full((60, 120, 3), 9, np.uint8)
    crop = crop_and_resize(frame)
    assert (crop[:27] == 0).all() and (crop[29:83] == 9).all() and (crop[85:] == 0).all()


def numbered(height: int, width: int) -> Images:
    """Return a frame of pixels that do not depend on a library's random generator."""
    index = np.arange(height * width * 3, dtype=np.uint64) * np.uint64(2654435761)
    index = (index ^ (index >> np.uint64(13))) * np.uint64(0x9E3779B97F4A7C15)
    return (index >> np.uint64(40)).astype(np.uint8).reshape(height, width, 3)


SHAPES = ((48, 48), (111, 111), (113, 113), (300, 300), (640, 200), (240, 320), (700, 30), (30, 700), (1000, 1000))
# Computed with Pillow 10.3, 11.3, 12.2 and 13.0, all equal.
SUM = "e87602216fff6d5a8a9f127d0d2548ea7dd09c05da8dcd6f8fea85f4300cb0b7"


def test_pixels_are_equal_for_all_versions_of_pillow() -> None:
    digest = hashlib.sha256()
    for height, width in SHAPES:
        frame = numbered(height, width)
        digest.update(crop_and_resize(frame).tobytes())
        digest.update(crop_and_resize(frame, (-5, 3, width * 0.9, height * 0.8)).tobytes())
    assert digest.hexdigest() == SUM


def test_bgr_frames_give_rgb_crops() -> None:
    frame: npt.NDArray[np.uint8] = np.random.default_rng(7).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    bgr = np.ascontiguousarray(frame[:, :, ::-1])
    for box in ((20.0, 10.0, 112.0, 112.0), (-30.0, 20.0, 112.0, 112.0), (-9.0, 5.0, 90.0, 130.0)):
        region = find_region(box, 200, 150)
        crop = crop_region(bgr, region, np.ones((112, 112, 3), np.uint8), color="bgr")
        assert np.array_equal(crop, crop_and_resize(frame, box))


def test_large_frame_is_not_copied_as_a_whole() -> None:
    frame = np.zeros((3000, 3000, 3), np.uint8)
    tracemalloc.start()
    try:
        crop_and_resize(frame[:, :2900])
        assert tracemalloc.get_traced_memory()[1] < frame.nbytes * 0.6
    finally:
        tracemalloc.stop()
