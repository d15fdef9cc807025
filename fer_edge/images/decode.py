"""Decoding of image files to RGB."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from fer_edge._files import is_os_error
from fer_edge._text import one_line
from fer_edge.engines.base import Images
from fer_edge.errors import ConfigError, ImageError, shown
from fer_edge.images import png
from fer_edge.images.faults import (
    describe_decoding_failure,
    describe_unidentified,
    detect_format,
    is_out_of_memory,
    peak_memory,
    webp_size,
)
from fer_edge.images.pixels import read_sample_format, write_rgb
from fer_edge.images.source import Source, open_source, source_name

# Pillow's names of the supported formats, and the modules of their readers. MPO counts as JPEG.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
READERS = ("Jpeg", "Png", "WebP", "Tiff", "Bmp", "Gif", "Avif")
MAX_FILE_BYTES = 256 << 20
MAX_PIXELS = 89_478_485  # Pillow warns above it, and its warning can only be silenced for all threads
MAX_PIXEL_BYTES = 8  # RGBA with 16 bits per channel
BITS_PER_SAMPLE, PLANAR_CONFIGURATION, CHROMA_SUBSAMPLING = 258, 284, 530  # TIFF tags
# View of the upright image in the orientation of the file, by EXIF orientation; 1 is upright.
STORED: dict[int, Callable[[Images], Images]] = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}
_pillow_limit = threading.Lock()


def read_image(source: Source, *, max_pixels: int | None = None) -> Images:
    """Decode an image to RGB, with its EXIF orientation applied.

    Supported formats are JPEG, PNG, WebP, TIFF, BMP, GIF and, if Pillow has its codec, AVIF. Of several frames, the
    first is returned.

    Args:
        source: Path of a file or pipe, bytes, or binary file object; a seekable object is read from its start.
        max_pixels: Largest number of pixels, 89478485 by default. The largest file size is 256 MiB, or 8 bytes per
            pixel of `max_pixels` if that is more. Above Pillow's own limit, `PIL.Image.MAX_IMAGE_PIXELS` is raised
            while the image is read.

    Returns:
        uint8 (H, W, 3). Grey becomes three equal channels, deeper samples are scaled to 8 bits, and transparent pixels
        are composited on black.

    Raises:
        ImageError: Image that is missing, unreadable, empty, too large, damaged, truncated, fully transparent, in an
            unsupported format or with an unknown range of values; or insufficient memory.
        ConfigError: `max_pixels` that is not a whole number from 1.
    """
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    if type(limit) is not int or limit < 1:
        raise ConfigError(f"max_pixels is {shown(max_pixels)}; expected a whole number from 1")
    name = source_name(source)
    try:
        max_bytes = max(MAX_FILE_BYTES, MAX_PIXEL_BYTES * (max_pixels or 0))
        with open_source(source, name, max_bytes) as file, _raised_limit(limit):
            return _decode_despite_warnings(file, name, limit)
    except MemoryError:
        pass  # the error is raised below, outside the frames that keep the data alive
    raise ImageError(f"not enough memory to read {name}; free memory, or make the file smaller")


def _decode_despite_warnings(file: BinaryIO, name: str, limit: int) -> Images:
    """Decode an image; Pillow's warnings about broken EXIF do not fail it in a process that raises warnings."""
    try:
        return _decode(file, name, limit)
    except Warning:
        with warnings.catch_warnings():  # affects all threads, so only in a process that raises warnings
            warnings.simplefilter("ignore", UserWarning)
            return _decode(file, name, limit)


@cache
def _formats() -> tuple[str, ...]:
    """Return the supported formats of this Pillow. Only their readers are imported, since others run programs."""
    available = []
    for format_name, reader in zip(FORMATS, READERS, strict=True):
        try:
            module = import_module(f"PIL.{reader}ImagePlugin")
        except ImportError:
            continue
        if getattr(module, "SUPPORTED", True):
            available.append(format_name)
    return tuple(available)


@contextmanager
def _raised_limit(pixels: int) -> Iterator[None]:
    """Raise Pillow's pixel limit, which is global, for an image that may have more pixels."""
    if pixels <= MAX_PIXELS:
        yield
        return
    with _pillow_limit:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None if before is None else max(before, pixels)
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _decode(file: BinaryIO, name: str, limit: int) -> Images:
    image = _open_image(file, name, limit)
    width, height = image.size
    if width * height > limit:
        raise ImageError(f"{name} is {width} x {height} pixels; expected at most {limit} pixels: {_SMALLER}")
    needed = peak_memory(width, height, image.format)
    try:
        _check_tiff(image)
        return _upright_rgb(image, file)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(_too_many_pixels(name, limit, error)) from error
    except Warning:
        raise
    except ImageError as error:
        raise ImageError(f"{name} {error}") from error
    except Exception as error:  # Pillow's readers raise any exception for damaged files
        if not is_out_of_memory(error, needed):
            raise _failure(error, file, name, image.format or "") from error
    # Outside the handler, so that the error does not keep the frames with the image alive.
    raise ImageError(_no_memory(name, width, height, needed))


_SMALLER = "make it smaller, or increase max_pixels (--max-pixels)"


def _open_image(file: BinaryIO, name: str, limit: int) -> Image.Image:
    try:
        return Image.open(file, formats=_formats())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(_too_many_pixels(name, limit, error)) from error
    except Warning:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(describe_unidentified(file, name, _formats())) from error
    except Exception as error:
        width, height = webp_size(file)
        needed = peak_memory(width, height, "WEBP")
        if not is_out_of_memory(error, needed):
            raise _failure(error, file, name, detect_format(file)) from error
    raise ImageError(_no_memory(name, width, height, needed))


def _too_many_pixels(name: str, limit: int, error: BaseException) -> str:
    return f"{name} has too many pixels; expected at most {limit}: {one_line(str(error))}"


def _no_memory(name: str, width: int, height: int, needed: int) -> str:
    size = f"its {width} x {height} pixels need about {-(-needed // 10**6)} MB" if needed else "it could not be opened"
    return f"not enough memory for {name}: {size}; free memory, or make the image smaller"


def _failure(error: Exception, file: BinaryIO, name: str, format_name: str) -> ImageError:
    if isinstance(error, OSError) and is_os_error(error):
        return ImageError(f"cannot read {name}: {error.strerror}")
    text = one_line(str(error)) or type(error).__name__
    return ImageError(describe_decoding_failure(file, name, format_name, text))


def _upright_rgb(image: Image.Image, file: BinaryIO) -> Images:
    samples = read_sample_format(image, file)
    image.load()  # first, since some formats store EXIF after the pixels
    _check_rows(image, file)
    stored = STORED.get(_orientation(image))
    _release_source(image, file)
    width, height = image.size
    turned = stored is not None and stored(np.empty((1, 2, 3), np.uint8)).shape[0] == 2
    upright = np.empty((width, height, 3) if turned else (height, width, 3), np.uint8)
    write_rgb(image, samples, upright if stored is None else stored(upright))
    return upright


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises any exception for broken EXIF; the pixels are still valid
        return 1


def _release_source(image: Image.Image, file: BinaryIO) -> None:
    """Free data and decoders of WebP and AVIF before the memory of the result is allocated."""
    if isinstance(file, BytesIO):
        file.close()
    vars(image).pop("_decoder", None)
    image.fp = None  # type: ignore[attr-defined]


def _check_tiff(image: Image.Image) -> None:
    """Refuse uncompressed TIFF files that Pillow decodes wrongly without an error.

    Pillow confuses 16-bit samples in separate planes and subsampled chroma, and leaves missing strips black.
    """
    tags: Any = getattr(image, "tag_v2", None)
    if tags is None or any(part[0] != "raw" for part in image.tile):  # type: ignore[attr-defined]
        return
    planes = len(image.getbands()) if tags.get(PLANAR_CONFIGURATION) == 2 else 1
    if planes > 1 and max(tags.get(BITS_PER_SAMPLE, (1,))) > 8:
        raise OSError("16-bit samples in separate planes are not supported")
    if image.mode == "YCbCr" and tags.get(CHROMA_SUBSAMPLING, (1, 1)) != (1, 1):
        raise OSError("uncompressed pixels with subsampled chroma are not supported")
    parts = [part[1] for part in image.tile]  # type: ignore[attr-defined]
    area = sum((right - left) * (bottom - top) for left, top, right, bottom in parts)
    if area < image.width * image.height * planes:
        raise OSError("image file is truncated: strips are missing")


def _check_rows(image: Image.Image, file: BinaryIO) -> None:
    """Refuse a PNG file whose compressed pixels end early: its last row or, if interlaced, the one before is zero."""
    if image.format != "PNG":
        return
    last = np.asarray(image.crop((0, max(image.height - 2, 0), image.width, image.height)))
    if not all(row.any() for row in last) and not png.has_all_rows(file):
        raise OSError("image file is truncated: rows are missing")
