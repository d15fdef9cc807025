"""Face boxes: their check, the square of the frame that each stands for, and mistakes that are all but certain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError, shown

Box = tuple[float, float, float, float]  # x, y, width, height in pixels
AnyBox = Sequence[float] | npt.NDArray[Any]  # four numbers, as detectors give them
AnyBoxes = Sequence[AnyBox | None] | npt.NDArray[Any]  # an array has the shape (N, 4)

EXPECTED = "expected four finite numbers: x, y, width, height in pixels"
LEAST_SIDE = 4  # pixels; a smaller box is a mistake, not a face
LARGEST_RATIO = 8  # of a box's longer side to the frame's; a larger box is a mistake, not a face
RELATIVE = 1.5  # largest value of a box in fractions of the frame, faces at the edge included
# A box that is read in another order is taken for a mistake only if it is a face in that order and hardly one as x, y,
# width, height. Of 80,000 simulated upright faces, cut off at the frame's edge or not, none is taken for a mistake.
FACE_RATIOS = (0.8, 1.6)  # height to width
WIDEST, TALLEST = 1.5, 2.0  # width to height, and height to width, of boxes that no edge has cut
LEAST_SHARE = 0.4  # of the box inside the frame


class Region(NamedTuple):
    """Square of a frame that a face box stands for. All but the last three in whole pixels of the frame."""

    left: int  # may be negative: the square reaches beyond the frame
    top: int
    side: int
    x0: int  # part of the square inside the frame: x0 <= x < x1, y0 <= y < y1
    y0: int
    x1: int
    y1: int
    face_width: float  # of the box, as far as it lies inside the frame
    face_height: float
    share: float  # of the box's area inside the frame, 0 to 1


def box_from_corners(left: float, top: float, right: float, bottom: float) -> Box:
    """Turn two corners, as many detectors give them, into a box.

    Args:
        left: x of the left edge in pixels.
        top: y of the upper edge in pixels.
        right: x of the right edge in pixels.
        bottom: y of the lower edge in pixels.

    Returns:
        x, y, width, height.

    Raises:
        InputError: The corners are no finite numbers, or right is not beyond left, or bottom not beyond top.
    """
    left, top, right, bottom = numbers_of((left, top, right, bottom), "left, top, right, bottom in pixels")
    if right <= left or bottom <= top:
        raise InputError(
            f"corners {shown((left, top, right, bottom))} are no box; expected left, top, right, bottom in pixels with "
            "left < right and top < bottom"
        )
    return left, top, right - left, bottom - top


def numbers_of(box: AnyBox, order: str = "x, y, width, height in pixels") -> Box:
    """Convert a box to four floats.

    Raises:
        InputError: It is something else, or holds values that are not finite.
    """
    try:
        if isinstance(box, np.ndarray):
            values: Sequence[Any] = box.tolist() if box.shape == (4,) else ()
        else:
            values = () if isinstance(box, (str, bytes, bytearray, Mapping, set, frozenset)) else tuple(box)
        if len(values) == 4 and all(type(value) in (int, float) or _is_number(value) for value in values):
            x, y, w, h = (float(value) for value in values)
            if math.isfinite(x) and math.isfinite(y) and math.isfinite(w) and math.isfinite(h):
                return x, y, w, h
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError(f"{_named(box)} is no box; expected four finite numbers: {order}") from error
    raise InputError(f"{_named(box)} is no box; expected four finite numbers: {order}{_hint(box)}")


def _is_number(value: object) -> bool:
    """Whether a value counts as one number: NumPy's, PyTorch's and the standard library's do, texts do not."""
    return not isinstance(value, (str, bytes, bool, np.bool_)) and getattr(value, "ndim", 0) == 0


def _named(box: object) -> str:
    return f"box of shape {box.shape}" if isinstance(box, np.ndarray) and box.shape != (4,) else f"box {shown(box)}"


def _hint(box: object) -> str:
    """Cause of a wrong form that can be told by it."""
    if isinstance(box, np.ndarray) and box.ndim == 2 and box.shape[1] == 4:
        return "; hand over a row of the array, or the whole array to recognize_faces"
    if isinstance(box, np.ndarray) and box.ndim == 1 and len(box) > 4:
        return "; leave out the values behind them, such as scores and landmarks: box[:4]"
    lengths = [len(part) if isinstance(part, (tuple, list)) else 0 for part in box] if isinstance(box, tuple) else []
    if lengths == [2, 2, 0]:
        return "; a RotatedRect of OpenCV becomes such a box by cv2.boundingRect(cv2.boxPoints(rectangle))"
    if lengths == [2, 2]:
        return (
            "; ((x, y), (width, height)) is x, y, width, height in one tuple, and two corners are a box by "
            "box_from_corners(left, top, right, bottom)"
        )
    if isinstance(box, Mapping):
        return "; take its values in this order"
    return ""


def _text(box: Box) -> str:
    return f"box ({', '.join(f'{value:.6g}' for value in box)})"


def region_of(box: Box | None, width: int, height: int) -> Region:
    """Find the square of a frame that a box stands for.

    The box is rounded outwards to whole pixels, and its shorter side is widened to the longer one by as many pixels on
    both sides; an odd pixel is added right or below. So nothing is ever stretched: a face keeps its shape.

    Args:
        box: x, y, width, height as `numbers_of` gives them; None: the whole frame.
        width: Width of the frame in pixels.
        height: Height of the frame in pixels.

    Raises:
        InputError: The box is empty, outside of the frame or far larger than it.
    """
    if box is None:
        return _square(0, 0, width, height, width, height, (width, height, 1.0))
    x, y, w, h = box
    if w <= 0 or h <= 0:
        remedy = "corners become a box by box_from_corners(left, top, right, bottom)" if w < 0 or h < 0 else EXPECTED
        raise InputError(f"{_text(box)} is empty: its width and height must be positive; {remedy}")
    if max(w, h) > LARGEST_RATIO * max(width, height):
        raise InputError(
            f"{_text(box)} is more than {LARGEST_RATIO} times as large as the frame of {width} x {height} pixels; "
            "expected the box of one face: x, y, width, height in pixels"
        )
    inside_w, inside_h = min(width, x + w) - max(0, x), min(height, y + h) - max(0, y)
    left, top, right, bottom = math.floor(x), math.floor(y), math.ceil(x + w), math.ceil(y + h)
    if inside_w <= 0 or inside_h <= 0:
        raise InputError(f"{_text(box)} is outside of the frame of {width} x {height} pixels")
    return _square(left, top, right, bottom, width, height, (inside_w, inside_h, inside_w / w * (inside_h / h)))


def _square(
    left: int, top: int, right: int, bottom: int, width: int, height: int, face: tuple[float, float, float]
) -> Region:
    side = max(right - left, bottom - top)
    left -= (side - (right - left)) // 2
    top -= (side - (bottom - top)) // 2
    return Region(left, top, side, max(left, 0), max(top, 0), min(left + side, width), min(top + side, height), *face)


def refuse_mistakes(box: Box, width: int, height: int) -> None:
    """Refuse a box that is all but certainly not x, y, width, height in pixels.

    Args:
        box: Four numbers, as `numbers_of` gives them.
        width: Width of the frame in pixels.
        height: Height of the frame in pixels.

    Raises:
        InputError: It is relative to the frame's size, has less than 4 pixels, or holds corners; names the cause.
    """
    x, y, w, h = box
    if min(w, h) > 0 and max(map(abs, box)) <= RELATIVE:
        raise InputError(
            f"{_text(box)} looks like fractions of the frame; expected pixels: multiply x and width by {width}, "
            f"y and height by {height}"
        )
    if 0 < min(w, h) < LEAST_SIDE:
        raise InputError(
            f"{_text(box)} is smaller than {LEAST_SIDE} pixels; expected the box of a face: "
            "x, y, width, height in pixels"
        )
    if min(w, h) <= 0 or not _is_hardly_a_face(box, width, height):
        return
    readings = {"left, top, right, bottom": (x, y, w, h), "top, right, bottom, left": (h, x, y, w)}
    for order, corners in readings.items():
        if _are_corners_of_a_face(*corners, width, height):
            raise InputError(
                f"{_text(box)} looks like corners ({order}); expected x, y, width, height in pixels: "
                "use box_from_corners(left, top, right, bottom)"
            )


def _is_hardly_a_face(box: Box, width: int, height: int) -> bool:
    """Whether no detector gives such a box: far beyond the frame, or far wider or taller than faces are."""
    x, y, w, h = box
    inside = max(0, min(width, x + w) - max(0, x)) * max(0, min(height, y + h) - max(0, y))
    cut_above_or_below, cut_beside = y <= 1 or y + h >= height - 1, x <= 1 or x + w >= width - 1
    return (
        inside < LEAST_SHARE * w * h
        or (w >= WIDEST * h and not cut_above_or_below)
        or (h >= TALLEST * w and not cut_beside)
    )


def _are_corners_of_a_face(left: float, top: float, right: float, bottom: float, width: int, height: int) -> bool:
    w, h = right - left, bottom - top
    inside = left >= 0 and top >= 0 and right <= width + 1 and bottom <= height + 1
    return inside and min(w, h) >= LEAST_SIDE and FACE_RATIOS[0] <= h / w <= FACE_RATIOS[1]
