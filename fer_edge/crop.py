"""Face crops: a square of a frame, resampled to the size that a model takes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from fer_edge.boxes import AnyBox, Box, Region, box_from_corners, numbers_of, region_of
from fer_edge.engines.base import IMAGE_SIZE, Images
from fer_edge.errors import InputError, shown

__all__ = ["COLORS", "AnyBox", "Box", "box_from_corners", "check_frame", "crop_and_resize", "crop_region"]

COLORS = ("rgb", "bgr")  # orders of a frame's channels
BAND_BYTES = 8 << 20  # of rows that are resampled at once, so that a large frame is never copied whole


def check_frame(frame: npt.NDArray[np.uint8]) -> None:
    """Refuse what is not a frame of three channels.

    Raises:
        InputError: It is not uint8 of (H, W, 3); says how to convert what apps often have instead.
    """
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        got = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise InputError(
            f"the frame is {got}; expected a uint8 array of shape (height, width, 3), RGB{_conversion(frame)}"
        )
    if 0 in frame.shape:
        raise InputError(f"the frame is empty: shape {frame.shape}")


def check_color(color: str) -> None:
    """Refuse an order of channels that is not known.

    Raises:
        InputError: It is neither "rgb" nor "bgr".
    """
    if color not in COLORS:
        raise InputError(f'color is {shown(color)}; expected "rgb", or "bgr" for frames of OpenCV')


def _conversion(frame: object) -> str:
    """How to make a frame of something else, as the end of a message."""
    if frame is None:
        return ": the camera or video gave no frame"
    if isinstance(frame, Image.Image):
        return ': numpy.asarray(image.convert("RGB"))'
    if isinstance(frame, (str, bytes, bytearray, memoryview)) or hasattr(frame, "__fspath__"):
        return ": fer_edge.read_image(...) decodes a file"
    if not isinstance(frame, np.ndarray):
        return ": frame.get() of a cv2.UMat" if type(frame).__name__ == "UMat" else ""
    if frame.ndim == 3 and frame.shape[2] == 4:
        return ": frame[:, :, :3] leaves out the fourth channel"
    if frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] == 1):
        return ": numpy.dstack([grey] * 3) of a grey frame"
    if frame.ndim == 3 and frame.shape[0] == 3 and frame.shape[2] != 3:
        return ": frame.transpose(1, 2, 0) where channels come first"
    if frame.ndim == 4:
        return ": one frame at a time"
    if frame.dtype.kind == "f":
        return ": (frame * 255).round().astype(numpy.uint8) where values are 0 to 1"
    return ""


def crop_and_resize(
    frame: npt.NDArray[np.uint8], box: AnyBox | None = None, size: int = IMAGE_SIZE, *, out: Images | None = None
) -> Images:
    """Cut a face out of a frame and resample it, bilinear with antialiasing.

    The face keeps its shape: a box that is not square is widened to a square about its centre (see `region_of`), and
    what lies beyond the frame is black.

    Args:
        frame: uint8 RGB (H, W, 3).
        box: x, y, width, height in pixels. None: the whole frame.
        size: Side of the result in pixels, 112 by default.
        out: Array to write to, uint8 (size, size, 3); a new one if not given.

    Returns:
        uint8 (size, size, 3).

    Raises:
        InputError: The frame is no RGB frame, or the box is no four numbers, empty, outside of it or far larger.
    """
    check_frame(frame)
    height, width = frame.shape[:2]
    region = region_of(None if box is None else numbers_of(box), width, height)
    return crop_region(frame, region, np.empty((size, size, 3), np.uint8) if out is None else out)


def crop_region(frame: npt.NDArray[np.uint8], region: Region, out: Images, *, color: str = "rgb") -> Images:
    """Resample a square of a frame, black beyond the frame.

    Two passes of one dimension each, across first: Pillow would choose their order by the frame's shape and its own
    version, and the order changes pixels by one level.

    Args:
        frame: uint8 (H, W, 3), channels in the order of `color`.
        region: The square, of a frame of this size.
        out: Array to write RGB to, uint8 (size, size, 3).
        color: "rgb", the default, or "bgr".

    Returns:
        `out`.
    """
    size = len(out)
    if region.side != size:
        crop = np.asarray(_across(frame, region, size).resize((size, size), Image.Resampling.BILINEAR))
        out[:] = crop if color == "rgb" else crop[:, :, ::-1]
        return out
    left, top, right, bottom = region.x0, region.y0, region.x1, region.y1
    if right - left < size or bottom - top < size:
        out[:] = 0
    crop = frame[top:bottom, left:right]
    place = out[top - region.top : bottom - region.top, left - region.left : right - region.left]
    place[:] = crop if color == "rgb" else crop[:, :, ::-1]
    return out


def _across(frame: npt.NDArray[np.uint8], region: Region, size: int) -> Image.Image:
    """Resample the rows of a square to `size` columns, in bands; rows beyond the frame are black."""
    rows = max(1, BAND_BYTES // (3 * region.side))
    if rows >= region.side == region.y1 - region.y0:
        return _narrowed(frame, region, region.y0, region.y1, size)
    narrow = np.zeros((region.side, size, 3), np.uint8)
    for first in range(region.y0, region.y1, rows):
        last = min(first + rows, region.y1)
        narrow[first - region.top : last - region.top] = np.asarray(_narrowed(frame, region, first, last, size))
    return Image.fromarray(narrow)


def _narrowed(frame: npt.NDArray[np.uint8], region: Region, first: int, last: int, size: int) -> Image.Image:
    band = frame[first:last, region.x0 : region.x1]
    if region.x1 - region.x0 < region.side:
        whole = np.zeros((last - first, region.side, 3), np.uint8)
        whole[:, region.x0 - region.left : region.x1 - region.left] = band
        band = whole
    return Image.fromarray(np.ascontiguousarray(band)).resize((size, last - first), Image.Resampling.BILINEAR)
