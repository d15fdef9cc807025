"""Image files and frames to what a runner takes."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from fer_edge._files import refused_by_system
from fer_edge.engines.base import IMAGE_SIZE, Images
from fer_edge.errors import ImageError, InputError, shown

MAX_FILE_BYTES = 256 << 20
MAX_PIXELS = 89_478_485  # above it Pillow warns, which nothing keeps silent without silencing other threads too
SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
# How the picture of each EXIF orientation is turned upright; 1 is.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Box = tuple[float, float, float, float]  # x, y, width, height in pixels


def read_image(path: Path | str) -> Images:
    """Decode an image file to RGB, turned as its EXIF orientation says.

    Returns:
        uint8 (H, W, 3). Grey becomes three equal channels, 16-bit is scaled to 8, transparency is laid on black.

    Raises:
        ImageError: The file is missing, unreadable, empty, too large, damaged or no image.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # a name may hold what no name can
        raise ImageError(f"cannot read {shown(str(path))}: {error}") from error
    if size == 0:
        raise ImageError(f"{path} is empty (0 bytes); expected an image file")
    if size > MAX_FILE_BYTES:
        raise ImageError(f"{path} has {size} bytes; images may have {MAX_FILE_BYTES}")
    try:
        return _decoded(path)
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path} is not an image that can be decoded; expected JPEG, PNG, WebP, TIFF or BMP"
        ) from error
    except Exception as error:  # Pillow's readers raise whatever a damaged file makes them trip over
        if isinstance(error, OSError) and refused_by_system(error):
            raise ImageError(f"cannot read {path}: {error.strerror}") from error
        raise ImageError(f"{path} is damaged or cannot be decoded: {error}") from error


def find_images(path: Path) -> list[Path]:
    """A file as it is, or every image below a folder, sorted.

    Raises:
        ImageError: There is nothing there, it cannot be read, or the folder holds no image.
    """
    try:
        if path.is_file():
            return [path]
        if not path.is_dir():
            raise ImageError(f"no file or folder at {path}")
        os.scandir(path).close()  # a folder that cannot be read is searched without a word
        found = sorted(entry for entry in path.rglob("*") if entry.suffix.lower() in SUFFIXES and entry.is_file())
    except OSError as error:
        raise ImageError(f"cannot read {error.filename or path}: {error.strerror}") from error
    if not found:
        raise ImageError(f"no images below {path}; looked for {', '.join(sorted(SUFFIXES))}")
    return found


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


def _decoded(path: Path) -> Images:
    try:
        with Image.open(path) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ImageError(f"{path} is {width} x {height} pixels; images may have {MAX_PIXELS} pixels")
            return _to_rgb(_upright(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # where warnings are errors
        raise ImageError(f"{path} has too many pixels; images may have {MAX_PIXELS} pixels: {error}") from error


def _upright(image: Image.Image) -> Image.Image:
    """As the EXIF orientation says; as it is stored where that says nothing that can be understood."""
    image.load()  # damaged pixels are told before, and some formats have EXIF behind the pixels
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # of broken EXIF Pillow raises whatever it trips over; the pixels are fine
        return image
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Images:
    if image.mode.startswith("I;16") or image.mode == "I":
        wide = np.asarray(image).astype(np.int64)
        grey = np.clip((wide + 128) // 257, 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, (0, 0, 0, 255)), clear)
    return np.asarray(image.convert("RGB"))
