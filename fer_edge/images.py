"""Decoding of image files to RGB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from fer_edge._files import refused_by_system
from fer_edge.engines.base import Images
from fer_edge.errors import ImageError, shown

MAX_FILE_BYTES = 256 << 20
MAX_PIXELS = 89_478_485  # above it Pillow warns, which nothing keeps silent without silencing other threads too
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
