"""Face boxes: parsing, the square region of a frame that a box selects, and detection of likely mistakes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError, shown


class SupportsArray(Protocol):
    """Object that NumPy converts to an array: ndarray, torch.Tensor and others."""

    def __array__(self) -> npt.NDArray[Any]: ...


Box: TypeAlias = Sequence[float] | SupportsArray  # x, y, width, height in pixels
XYWH: TypeAlias = tuple[float, float, float, float]  # a parsed box

EXPECTED = "expected four finite numbers: x, y, width, height in pixels"
MIN_SIDE = 4  # pixels; a smaller box is a mistake, not a face
MAX_RATIO = 8  # longer side of the box to that of the frame; a larger box is a mistake, not a face
MAX_FRACTION = 1.5  # largest value of a box in fractions of the frame, including faces at the edge
# A box counts as corners only if it is a plausible face when read as corners and an implausible one when read as
# x, y, width, height. Of 80,000 simulated upright faces, cut off at the edge or not, none is mistaken for corners.
FACE_RATIOS = (0.8, 1.6)  # height to width of plausible faces
MAX_WIDE, MAX_TALL = 1.5, 2.0  # width to height, and height to width, of boxes away from the frame's edges
MIN_INSIDE = 0.4  # share of a plausible box's area inside the frame


class Region(NamedTuple):
    """Square of a frame that a face box selects; in whole pixels, except for the last three fields."""

    left: int  # negative if the square extends beyond the frame
    top: int
    side: int
    x0: int  # part of the square inside the frame: x0 <= x < x1, y0 <= y < y1
    y0: int
    x1: int
    y1: int
    face_width: float  # width of the part of the box inside the frame
    face_height: float
    share: float  # share of the box's area inside the frame, 0 to 1


def box_from_corners(left: float, top: float, right: float, bottom: float) -> XYWH:
    """Convert two corners, as many detectors return them, to a box.

    Args:
        left: x of the left edge in pixels.
        top: y of the upper edge in pixels.
        right: x of the right edge in pixels.
        bottom: y of the lower edge in pixels.

    Returns:
        x, y, width, height.

    Raises:
        InputError: Corners that are not finite numbers, or with right <= left or bottom <= top.
    """
    left, top, right, bottom = parse_box((left, top, right, bottom), "left, top, right, bottom in pixels")
    if right <= left or bottom <= top:
        raise InputError(
            f"corners {shown((left, top, right, bottom))} are not a box; expected left, top, right, bottom in pixels "
            "with left < right and top < bottom"
        )
    return left, top, right - left, bottom - top


def parse_box(box: Box, order: str = "x, y, width, height in pixels") -> XYWH:
    """Convert a box to four floats.

    Args:
        box: Sequence or array of four numbers.
        order: Meaning of the numbers, for messages.

    Raises:
        InputError: Another object, or values that are not finite.
    """
    try:
        values = _values(box)
        if len(values) == 4 and all(type(value) in (int, float) or _is_number(value) for value in values):
            x, y, w, h = (float(value) for value in values)
            if math.isfinite(x) and math.isfinite(y) and math.isfinite(w) and math.isfinite(h):
                return x, y, w, h
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError(f"{_describe(box)} is not a box; expected four finite numbers: {order}") from error
    raise InputError(f"{_describe(box)} is not a box; expected four finite numbers: {order}{_hint(box)}")


def _values(box: Any) -> Sequence[Any]:
    if not isinstance(box, Iterable) and hasattr(box, "__array__"):
        box = np.asarray(box)
    if isinstance(box, np.ndarray):
        return box.tolist() if box.shape == (4,) else []
    return () if isinstance(box, (str, bytes, bytearray, Mapping, set, frozenset)) else tuple(box)


def _is_number(value: object) -> bool:
    """Return whether a value is one number: of NumPy, PyTorch or the standard library, but no text and no bool."""
    return not isinstance(value, (str, bytes, bool, np.bool_)) and getattr(value, "ndim", 0) == 0


def _describe(box: object) -> str:
    return f"box of shape {box.shape}" if isinstance(box, np.ndarray) and box.shape != (4,) else f"box {shown(box)}"


def _hint(box: object) -> str:
    """Return the likely conversion for a box of another form, or an empty text."""
    if isinstance(box, np.ndarray) and box.ndim == 2 and box.shape[1] == 4:
        return "; pass one row of the array, or the whole array to recognize_faces"
    if isinstance(box, np.ndarray) and box.ndim == 1 and len(box) > 4:
        return "; omit scores and landmarks after the fourth value: box[:4]"
    lengths = [len(part) if isinstance(part, (tuple, list)) else 0 for part in box] if isinstance(box, tuple) else []
    if lengths == [2, 2, 0]:
        return "; convert a RotatedRect of OpenCV by cv2.boundingRect(cv2.boxPoints(rectangle))"
    if lengths == [2, 2]:
        return (
            "; pass ((x, y), (width, height)) as one tuple, and convert two corners by "
            "box_from_corners(left, top, right, bottom)"
        )
    if isinstance(box, Mapping):
        return "; pass its values in this order"
    return ""


def _text(box: XYWH) -> str:
    return f"box ({', '.join(f'{value:.6g}' for value in box)})"


def find_region(box: XYWH | None, width: int, height: int) -> Region:
    """Return the square of a frame that a box selects.

    The box is rounded outwards to whole pixels. Its shorter side is then extended to the longer one, equally on both
    sides, with an odd pixel right or below. The face is therefore never stretched.

    Args:
        box: Parsed box; None: the whole frame.
        width: Width of the frame in pixels.
        height: Height of the frame in pixels.

    Raises:
        InputError: Box that is empty, outside the frame or far larger than it.
    """
    if box is None:
        return _square(0, 0, width, height, width, height, (width, height, 1.0))
    x, y, w, h = box
    if w <= 0 or h <= 0:
        remedy = "convert corners by box_from_corners(left, top, right, bottom)" if w < 0 or h < 0 else EXPECTED
        raise InputError(f"{_text(box)} is empty: its width and height must be positive; {remedy}")
    if max(w, h) > MAX_RATIO * max(width, height):
        raise InputError(
            f"{_text(box)} is more than {MAX_RATIO} times as large as the frame of {width} x {height} pixels; "
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


def check_plausible(box: XYWH, width: int, height: int) -> None:
    """Refuse a box that is almost certainly not x, y, width, height in pixels.

    Args:
        box: Parsed box.
        width: Width of the frame in pixels.
        height: Height of the frame in pixels.

    Raises:
        InputError: Fractions of the frame, a side of less than 4 pixels, or corners.
    """
    x, y, w, h = box
    if min(w, h) > 0 and max(map(abs, box)) <= MAX_FRACTION:
        raise InputError(
            f"{_text(box)} looks like fractions of the frame; expected pixels: multiply x and width by {width}, "
            f"y and height by {height}"
        )
    if 0 < min(w, h) < MIN_SIDE:
        raise InputError(
            f"{_text(box)} is smaller than {MIN_SIDE} pixels; expected the box of a face: x, y, width, height in pixels"
        )
    if min(w, h) <= 0 or not _is_implausible(box, width, height):
        return
    readings = {"left, top, right, bottom": (x, y, w, h), "top, right, bottom, left": (h, x, y, w)}
    for order, corners in readings.items():
        if _are_plausible_corners(*corners, width, height):
            raise InputError(
                f"{_text(box)} looks like corners ({order}); expected x, y, width, height in pixels: "
                "use box_from_corners(left, top, right, bottom)"
            )


def _is_implausible(box: XYWH, width: int, height: int) -> bool:
    """Return whether a box is mostly outside the frame, or far wider or taller than a face."""
    x, y, w, h = box
    inside = max(0, min(width, x + w) - max(0, x)) * max(0, min(height, y + h) - max(0, y))
    cut_vertically, cut_horizontally = y <= 1 or y + h >= height - 1, x <= 1 or x + w >= width - 1
    return (
        inside < MIN_INSIDE * w * h
        or (w >= MAX_WIDE * h and not cut_vertically)
        or (h >= MAX_TALL * w and not cut_horizontally)
    )


def _are_plausible_corners(left: float, top: float, right: float, bottom: float, width: int, height: int) -> bool:
    w, h = right - left, bottom - top
    inside = left >= 0 and top >= 0 and right <= width + 1 and bottom <= height + 1
    return inside and min(w, h) >= MIN_SIDE and FACE_RATIOS[0] <= h / w <= FACE_RATIOS[1]
