"""Face crops: a box of a frame, resampled to the size that a model takes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from fer_edge.engines.base import IMAGE_SIZE, Images
from fer_edge.errors import InputError, shown

Box = tuple[float, float, float, float]  # x, y, width, height in pixels


def check_frame(frame: npt.NDArray[np.uint8]) -> None:
    """Refuse what is not an RGB frame.

    Raises:
        InputError: It is not uint8 of (H, W, 3).
    """
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        got = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise InputError(f"the frame is {got}; expected a uint8 array of shape (height, width, 3), RGB")
    if 0 in frame.shape:
        raise InputError(f"the frame is empty: shape {frame.shape}")


def crop_and_resize(
    frame: npt.NDArray[np.uint8], box: Box | None = None, size: int = IMAGE_SIZE, *, out: Images | None = None
) -> Images:
    """Cut a face box out of a frame and resample it, bilinear with antialiasing.

    Args:
        frame: uint8 RGB (H, W, 3).
        box: x, y, width, height in pixels; what lies outside of the frame is cut off. None: the whole frame.
        size: Side of the result.
        out: Where to write it, uint8 (size, size, 3); a new array if not given.

    Returns:
        uint8 (size, size, 3).

    Raises:
        InputError: The frame is no RGB frame, or the box is no four numbers, empty or outside of it.
    """
    check_frame(frame)
    left, top, right, bottom = _pixels(box, *frame.shape[1::-1])
    crop = frame[top:bottom, left:right]
    if crop.shape[:2] != (size, size):
        image = Image.fromarray(np.ascontiguousarray(crop)).resize((size, size), Image.Resampling.BILINEAR)
        crop = np.asarray(image)
    elif out is None:
        return crop.copy()
    if out is None:
        return crop
    out[:] = crop
    return out


def _pixels(box: Box | None, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what a box has in common with a frame."""
    if box is None:
        return 0, 0, width, height
    try:
        x, y, w, h = box
        if w > 0 and h > 0 and math.isfinite(x) and math.isfinite(y) and math.isfinite(w) and math.isfinite(h):
            left, top = math.floor(max(0, x)), math.floor(max(0, y))
            # A sum may be infinite; one of a detector's narrow integers would wrap around.
            right = math.ceil(min(width, float(x) + float(w)))
            bottom = math.ceil(min(height, float(y) + float(h)))
            if left < right and top < bottom:
                return left, top, right, bottom
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"box {shown(box)} is no box; expected four finite numbers: x, y, width, height in pixels"
        ) from error
    raise InputError(
        f"box {shown((x, y, w, h))} is empty, not finite or outside of the frame of {width} x {height} pixels"
    )
