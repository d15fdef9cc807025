"""Face boxes: accepted types, and detection of likely mistakes."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge import box_from_corners
from fer_edge.boxes import check_plausible, find_region, parse_box
from fer_edge.errors import InputError

WIDTH, HEIGHT = 640, 480


def check(box: Any, width: int = WIDTH, height: int = HEIGHT) -> None:
    numbers = parse_box(box)
    check_plausible(numbers, width, height)
    find_region(numbers, width, height)


@pytest.mark.parametrize(
    "box",
    [
        [1, 2, 3, 4],
        (1.0, 2.0, 3.0, 4.0),
        np.array([1, 2, 3, 4], np.uint8),
        np.array([1, 2, 3, 4], np.float16),
        tuple(np.array([1, 2, 3, 4], np.int32)),
        [np.float32(1), np.int64(2), 3, 4.0],
        tuple(map(Decimal, (1, 2, 3, 4))),
        tuple(map(Fraction, (1, 2, 3, 4))),
        range(1, 5),
    ],
)
def test_numbers_of_every_type_are_accepted(box: Any) -> None:
    assert parse_box(box) == (1.0, 2.0, 3.0, 4.0)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((1, 2, 3), r"box \(1, 2, 3\) is not a box; expected four finite numbers: x, y, width, height in pixels$"),
        ((1, 2, 3, 4, 5), "is not a box"),
        (("1", 2, 3, 4), "is not a box"),
        ((1, 2, None, 4), "is not a box"),
        (5, "box 5 is not a box"),
        ("abcd", "is not a box"),
        (b"abcd", "is not a box"),
        ((10**400, 1, 1, 1), "is not a box"),
        ((1, 1, 1, 1j), "is not a box"),
        ((1, 1, 1, float("nan")), "is not a box"),
        ((0, float("inf"), 1, 1), "is not a box"),
        ((1, 1, 1, True), "is not a box"),
        ({1, 2, 3, 4}, "is not a box"),
        ({"x": 1, "y": 2, "w": 3, "h": 4}, "pass its values in this order"),
        (np.zeros((1, 4)), r"box of shape \(1, 4\) is not a box; .*pass one row of the array"),
        (np.zeros((4, 1)), r"box of shape \(4, 1\) is not a box"),
        (np.zeros(15), r"box of shape \(15,\) is not a box; .*box\[:4\]"),
        ([np.zeros(1)] * 4, "is not a box"),
        (((225.0, 130.0), (120.0, 120.0), 15.0), r"cv2.boundingRect\(cv2.boxPoints\(rectangle\)\)"),
        (((165, 70), (285, 190)), r"convert two corners by "),
    ],
)
def test_other_objects_are_refused_with_a_hint(box: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_box(box)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((640, 0, 5, 5), "is outside of the frame of 640 x 480 pixels$"),
        ((-9, 0, 9, 5), "is outside of the frame of 640 x 480 pixels$"),
        ((2**62, 0, 10, 10), "is outside of the frame"),
        ((0, 0, 0, 5), "is empty: its width and height must be positive; expected four"),
        ((285, 190, -120, -120), "is empty: .*box_from_corners"),
        ((0, 0, 1e300, 50), "is more than 8 times as large as the frame of 640 x 480 pixels"),
    ],
)
def test_empty_outside_and_huge_boxes_are_refused(box: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(box)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((0.32, 0.13, 0.23, 0.23), "looks like fractions of the frame; .* x and width by 640, y and height by 480"),
        ((-0.1, 0.7, 0.4, 0.5), "looks like fractions of the frame"),
        ((0, 0, 1, 1), "looks like fractions of the frame"),
        ((225, 120, 1, 1), "is smaller than 4 pixels"),
        ((225.5, 120.5, 1e-9, 1e-9), "is smaller than 4 pixels"),
        ((225, 70, 1, 120), "is smaller than 4 pixels"),
        ((400, 100, 520, 240), r"looks like corners \(left, top, right, bottom\).*box_from_corners"),
        ((300, 100, 420, 240), r"looks like corners \(left, top, right, bottom\)"),
        ((165, 70, 285, 190), r"looks like corners \(left, top, right, bottom\)"),
        ((40, 200, 140, 320), r"looks like corners \(left, top, right, bottom\)"),
        ((100, 520, 240, 400), r"looks like corners \(top, right, bottom, left\)"),
    ],
)
def test_likely_mistakes_are_named(box: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(box)


@st.composite
def faces(draw: st.DrawFn) -> tuple[int, int, tuple[float, float, float, float]]:
    """Frame sizes with the box of a detector: up to 40 % beyond each edge, clipped or not."""
    width, height = draw(st.sampled_from([(640, 480), (1920, 1080), (512, 512), (480, 640), (1280, 720)]))
    tall = draw(st.floats(16, 0.9 * min(width, height)))
    wide = tall / draw(st.floats(0.95, 1.55))
    x = draw(st.floats(-0.4 * wide, width - 0.6 * wide))
    y = draw(st.floats(-0.4 * tall, height - 0.6 * tall))
    if draw(st.booleans()):
        right, bottom = min(width, x + wide), min(height, y + tall)
        x, y = max(0.0, x), max(0.0, y)
        wide, tall = right - x, bottom - y
    return width, height, (x, y, wide, tall)


@given(faces())
def test_detector_boxes_are_always_accepted(face: tuple[int, int, Any]) -> None:
    width, height, box = face
    check(box, width, height)
    check(np.array(box, np.float32), width, height)


def test_corners_are_converted_to_a_box() -> None:
    assert box_from_corners(165, 70, 285, 190) == (165.0, 70.0, 120.0, 120.0)
    assert box_from_corners(*np.array([-5, 2, 10, 20], np.int16)) == (-5.0, 2.0, 15.0, 18.0)
    for corners in ((10, 10, 10, 20), (285, 190, 165, 70)):
        with pytest.raises(InputError, match=r"corners .* are not a box; .* left < right and top < bottom"):
            box_from_corners(*corners)
    with pytest.raises(InputError, match=r"is not a box; expected four finite numbers: left, top, right, bottom"):
        box_from_corners(1, 2, float("nan"), 4)
