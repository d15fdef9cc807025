"""Face crops: a square of a frame, resampled to the input size of the model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from fer_edge.boxes import Box as Box
from fer_edge.boxes import Region, find_region, parse_box
from fer_edge.engines.base import IMAGE_SIZE, Images
from fer_edge.errors import InputError, shown

COLORS = ("rgb", "bgr")  # orders of a frame's channels
BAND_BYTES = 8 << 20  # bytes of the rows resampled at once, so that a large frame is never copied as a whole


def check_frame(frame: npt.NDArray[np.uint8]) -> None:
    """Check that a frame is a uint8 array of shape (H, W, 3).

    Raises:
        InputError: Another object; the message contains a conversion for common ones.
    """
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        kind = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise InputError(
            f"the frame is {kind}; expected a uint8 array of shape (height, width, 3), RGB{_conversion(frame)}"
        )
    if 0 in frame.shape:
        raise InputError(f"the frame is empty: shape {frame.shape}")


def check_color(color: str) -> None:
    """Check the name of a channel order.

    Raises:
        InputError: Neither "rgb" nor "bgr".
    """
    if color not in COLORS:
        raise InputError(f'color is {shown(color)}; expected "rgb", or "bgr" for frames of OpenCV')


def _conversion(frame: object) -> str:
    """Return the conversion of an object to a frame, as the end of a message; empty if unknown."""
    if frame is None:
        return ": the camera or video returned no frame"
    if isinstance(frame, Image.Image):
        return ': numpy.asarray(image.convert("RGB"))'
    if isinstance(frame, (str, bytes, bytearray, memoryview)) or hasattr(frame, "__fspath__"):
        return ": fer_edge.read_image(...) decodes a file"
    if not isinstance(frame, np.ndarray):
        return ": frame.get() of a cv2.UMat" if type(frame).__name__ == "UMat" else ""
    if frame.ndim == 3 and frame.shape[2] == 4:
        return ": frame[:, :, :3] omits the fourth channel"
    if frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] == 1):
        return ": numpy.dstack([grey] * 3) of a grey frame"
    if frame.ndim == 3 and frame.shape[0] == 3 and frame.shape[2] != 3:
        return ": frame.transpose(1, 2, 0) of a frame with channels first"
    if frame.ndim == 4:
        return ": pass one frame at a time"
    if frame.dtype.kind == "f":
        return ": (frame * 255).round().astype(numpy.uint8) of values from 0 to 1"
    return ""


def crop_and_resize(
    frame: npt.NDArray[np.uint8], box: Box | None = None, size: int = IMAGE_SIZE, *, out: Images | None = None
) -> Images:
    """Crop a face from a frame and resample it, bilinear with antialiasing.

    The aspect ratio is preserved: a box that is not square is extended to a square about its centre (see
    `find_region`), and pixels beyond the frame are black.

    Args:
        frame: uint8 RGB, (H, W, 3).
        box: Face box: x, y, width, height in pixels. None: the whole frame.
        size: Side of the result in pixels, 112 by default.
        out: Array for the result, uint8 (size, size, 3); None: a new array.

    Returns:
        The crop, uint8 (size, size, 3).

    Raises:
        InputError: Invalid frame or box, or a box that is empty, outside the frame or far larger than it.
    """
    check_frame(frame)
    height, width = frame.shape[:2]
    region = find_region(None if box is None else parse_box(box), width, height)
    return crop_region(frame, region, np.empty((size, size, 3), np.uint8) if out is None else out)


def crop_region(frame: npt.NDArray[np.uint8], region: Region, out: Images, *, color: str = "rgb") -> Images:
    """Resample a square of a frame; pixels beyond the frame are black.

    Resampling takes two passes of one dimension each, horizontally first. Pillow would choose their order by the
    frame's shape and its own version, and the order changes pixels by one level.

    Args:
        frame: uint8 (H, W, 3), with channels in the order of `color`.
        region: Square, found for the size of this frame.
        out: Array for the result, RGB, uint8 (size, size, 3).
        color: Channel order of the frame: "rgb", the default, or "bgr".

    Returns:
        `out`.
    """
    size = len(out)
    if region.side != size:
        narrow = _resize_rows(frame, region, size)
        crop = np.asarray(narrow.resize((size, size), Image.Resampling.BILINEAR))
        out[:] = crop if color == "rgb" else crop[:, :, ::-1]
        return out
    left, top, right, bottom = region.x0, region.y0, region.x1, region.y1
    if right - left < size or bottom - top < size:
        out[:] = 0
    crop = frame[top:bottom, left:right]
    inside = out[top - region.top : bottom - region.top, left - region.left : right - region.left]
    inside[:] = crop if color == "rgb" else crop[:, :, ::-1]
    return out


def _resize_rows(frame: npt.NDArray[np.uint8], region: Region, size: int) -> Image.Image:
    """Resample the rows of a square to `size` columns, band by band; rows beyond the frame are black."""
    rows = max(1, BAND_BYTES // (3 * region.side))
    if rows >= region.side == region.y1 - region.y0:
        return _resize_band(frame, region, region.y0, region.y1, size)
    narrow = np.zeros((region.side, size, 3), np.uint8)
    for first in range(region.y0, region.y1, rows):
        last = min(first + rows, region.y1)
        narrow[first - region.top : last - region.top] = np.asarray(_resize_band(frame, region, first, last, size))
    return Image.fromarray(narrow)


def _resize_band(frame: npt.NDArray[np.uint8], region: Region, first: int, last: int, size: int) -> Image.Image:
    band = frame[first:last, region.x0 : region.x1]
    if region.x1 - region.x0 < region.side:
        padded = np.zeros((last - first, region.side, 3), np.uint8)
        padded[:, region.x0 - region.left : region.x1 - region.left] = band
        band = padded
    return Image.fromarray(np.ascontiguousarray(band)).resize((size, last - first), Image.Resampling.BILINEAR)
