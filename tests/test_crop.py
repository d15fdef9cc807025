"""Face crops: boxes, padding, resampling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.crop import crop_and_resize
from fer_edge.errors import InputError

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def test_crop_without_scaling_is_exact() -> None:
    frame = np.random.default_rng(2).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    assert np.array_equal(crop_and_resize(frame, (10, 20, 112, 112)), frame[20:132, 10:122])


@pytest.mark.parametrize("box", [(30, 0, 5, 5), (0, 0, 0, 5), (-9, 0, 9, 5), (0, 0, -1, -1), (0, float("inf"), 1, 1)])
def test_boxes_outside_are_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError, match="is empty, not finite or outside of the frame of 30 x 20 pixels"):
        crop_and_resize(RGB, box)


@pytest.mark.parametrize(
    "box", [(1, 2, 3), (1, 2, 3, 4, 5), ("1", 2, 3, 4), (1, 2, None, 4), 5, "abcd", (10**400, 1, 1, 1), (1, 1, 1, 1j)]
)
def test_what_is_no_box_is_told(box: object) -> None:
    with pytest.raises(InputError, match="is no box; expected four finite numbers: x, y, width, height in pixels"):
        crop_and_resize(RGB, box)  # type: ignore[arg-type]


def test_a_wrong_box_is_shown_on_one_short_line() -> None:
    with pytest.raises(InputError) as caught:
        crop_and_resize(RGB, np.zeros((20, 20)))  # type: ignore[arg-type]
    assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)
    with pytest.raises(InputError, match="box of type tuple is empty, not finite or outside"):
        crop_and_resize(RGB, (1, 1, -(10**5000), 1))


def test_boxes_of_narrow_integers_do_not_wrap_around() -> None:
    frame = np.random.default_rng(4).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    box = np.array([200, 150, 80, 110], np.uint8)
    assert np.array_equal(crop_and_resize(frame, tuple(box)), crop_and_resize(frame, (200, 150, 80, 110)))


@pytest.mark.parametrize("frame", [RGB.astype(float), RGB[:, :, 0], "frame", RGB[:0]])
def test_frames_that_are_none_are_refused(frame: object) -> None:
    with pytest.raises(InputError, match="the frame is"):
        crop_and_resize(frame)  # type: ignore[arg-type]


@given(st.floats(-50, 80), st.floats(-50, 80), st.floats(-5, 80), st.floats(-5, 80), st.integers(1, 16))
def test_every_box_gives_a_crop_within_the_values_or_an_error(
    x: float, y: float, w: float, h: float, size: int
) -> None:
    frame = np.full((20, 30, 3), 77, np.uint8)
    try:
        crop = crop_and_resize(frame, (x, y, w, h), size)
    except InputError:
        return
    assert crop.shape == (size, size, 3)
    assert (crop == 77).all()


def test_a_crop_is_written_where_it_is_wanted() -> None:
    frame = np.random.default_rng(3).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    for box in ((10, 20, 112, 112), (10, 20, 90, 140), None):
        place = np.zeros((112, 112, 3), np.uint8)
        assert crop_and_resize(frame, box, out=place) is place
        assert np.array_equal(place, crop_and_resize(frame, box))


def test_a_box_may_be_larger_than_numbers_go() -> None:
    assert np.array_equal(crop_and_resize(RGB, (-1, -1, 1.7e308, 1.7e308)), crop_and_resize(RGB))


def test_a_crop_is_no_view_of_the_frame() -> None:
    frame = np.zeros((112, 112, 3), np.uint8)
    crop_and_resize(frame)[:] = 9
    assert not frame.any()
