"""Decoding of images to RGB."""

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

from fer_edge._files import refused_by_system
from fer_edge._text import one_line
from fer_edge.engines.base import Images
from fer_edge.errors import ConfigError, ImageError, shown
from fer_edge.images import png
from fer_edge.images.faults import format_of, memory_needed, out_of_memory, webp_size, why_not_decoded, why_unidentified
from fer_edge.images.pixels import samples_of, write_rgb
from fer_edge.images.source import Source, opened, source_name

# Pillow's names of the formats that are read, and the modules of their readers. MPO is JPEG.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
READERS = ("Jpeg", "Png", "WebP", "Tiff", "Bmp", "Gif", "Avif")
MAX_FILE_BYTES = 256 << 20
MAX_PIXELS = 89_478_485  # above it Pillow warns, which nothing keeps silent without silencing other threads too
LARGEST_PIXEL = 8  # bytes, of RGBA of 16 bits
BITS_PER_SAMPLE, PLANAR_CONFIGURATION, CHROMA_SUBSAMPLING = 258, 284, 530  # TIFF's tags
# The stored picture as a view of the upright one, by EXIF orientation; by 1 it is the same.
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
    """Decode an image to RGB, turned as its EXIF orientation says.

    JPEG, PNG, WebP, TIFF, BMP, GIF and, where Pillow has its codec, AVIF are read; of several frames the first.

    Args:
        source: Path of a file or pipe, bytes, or binary file object; one that can seek is read from its start.
        max_pixels: Largest number of pixels, 89478485 by default. A file may have 256 MiB, or 8 bytes for each of
            `max_pixels` where that is more. For more pixels than Pillow's own limit, `PIL.Image.MAX_IMAGE_PIXELS` is
            raised while such an image is read.

    Returns:
        uint8 (H, W, 3). Grey becomes three equal channels, more bits are scaled to 8, transparency is laid on black.

    Raises:
        ImageError: The image is missing, unreadable, empty, too large, damaged, truncated, no image or of another
            format; its values fill no known range; it is transparent everywhere; or memory does not suffice.
        ConfigError: `max_pixels` is no number from 1.
    """
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    if type(limit) is not int or limit < 1:
        raise ConfigError(f"max_pixels is {shown(max_pixels)}; expected a whole number from 1")
    name = source_name(source)
    try:
        with opened(source, name, max(MAX_FILE_BYTES, LARGEST_PIXEL * (max_pixels or 0))) as file, _allowed(limit):
            return _without_warnings_as_errors(file, name, limit)
    except MemoryError:
        pass  # raised below, free of the frames that hold the data
    raise ImageError(f"not enough memory to read {name}; free memory, or make the file smaller")


def _without_warnings_as_errors(file: BinaryIO, name: str, limit: int) -> Images:
    """Decode; where warnings are errors, what Pillow has to say of broken EXIF is no reason to refuse an image."""
    try:
        return _decoded(file, name, limit)
    except Warning:
        with warnings.catch_warnings():  # of the whole process, so only where it turned warnings into errors
            warnings.simplefilter("ignore", UserWarning)
            return _decoded(file, name, limit)


@cache
def _formats() -> tuple[str, ...]:
    """Formats of `FORMATS` that can be read here. Only their readers are imported: some of Pillow's run programs."""
    usable = []
    for format_name, reader in zip(FORMATS, READERS, strict=True):
        try:
            module = import_module(f"PIL.{reader}ImagePlugin")
        except ImportError:
            continue
        if getattr(module, "SUPPORTED", True):
            usable.append(format_name)
    return tuple(usable)


@contextmanager
def _allowed(pixels: int) -> Iterator[None]:
    """Raise Pillow's own limit, which is the process's, for an image that may have more pixels."""
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


def _decoded(file: BinaryIO, name: str, limit: int) -> Images:
    image = _opened_image(file, name, limit)
    width, height = image.size
    if width * height > limit:
        raise ImageError(f"{name} is {width} x {height} pixels; images may have {limit} pixels: {_SMALLER}")
    needed = memory_needed(width, height, image.format)
    try:
        _check_tiff(image)
        return _upright_rgb(image, file)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(_too_many_pixels(name, limit, error)) from error
    except Warning:
        raise
    except ImageError as error:
        raise ImageError(f"{name} {error}") from error
    except Exception as error:  # Pillow's readers raise whatever a damaged file makes them trip over
        if not out_of_memory(error, needed):
            raise _failure(error, file, name, image.format or "") from error
    # Outside of the handler: the error must not keep the frames alive that hold the picture.
    raise ImageError(_no_memory(name, width, height, needed))


_SMALLER = "make it smaller, or raise max_pixels (fer-edge predict --max-pixels)"


def _opened_image(file: BinaryIO, name: str, limit: int) -> Image.Image:
    try:
        return Image.open(file, formats=_formats())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(_too_many_pixels(name, limit, error)) from error
    except Warning:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(why_unidentified(file, name, _formats())) from error
    except Exception as error:
        width, height = webp_size(file)
        needed = memory_needed(width, height, "WEBP")
        if not out_of_memory(error, needed):
            raise _failure(error, file, name, format_of(file)) from error
    raise ImageError(_no_memory(name, width, height, needed))


def _too_many_pixels(name: str, limit: int, error: BaseException) -> str:
    return f"{name} has too many pixels; images may have {limit} pixels: {one_line(str(error))}"


def _no_memory(name: str, width: int, height: int, needed: int) -> str:
    size = f"its {width} x {height} pixels need about {-(-needed // 10**6)} MB" if needed else "it could not be opened"
    return f"not enough memory for {name}: {size}; free memory, or make the image smaller"


def _failure(error: Exception, file: BinaryIO, name: str, format_name: str) -> ImageError:
    if isinstance(error, OSError) and refused_by_system(error):
        return ImageError(f"cannot read {name}: {error.strerror}")
    text = one_line(str(error)) or type(error).__name__
    return ImageError(why_not_decoded(file, name, format_name, text))


def _upright_rgb(image: Image.Image, file: BinaryIO) -> Images:
    samples = samples_of(image, file)
    image.load()  # before EXIF, which some formats have behind the pixels
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
    except Exception:  # of broken EXIF Pillow raises whatever it trips over; the pixels are fine
        return 1


def _release_source(image: Image.Image, file: BinaryIO) -> None:
    """Free what decoding needed before the result takes its memory: data in memory, decoders of WebP and AVIF."""
    if isinstance(file, BytesIO):
        file.close()
    vars(image).pop("_decoder", None)
    image.fp = None  # type: ignore[attr-defined]


def _check_tiff(image: Image.Image) -> None:
    """Refuse uncompressed TIFF files of which Pillow makes another picture and says nothing.

    Samples of 16 bits in separate planes and chroma of less resolution are mixed up; missing strips stay black.
    """
    tags: Any = getattr(image, "tag_v2", None)
    if tags is None or any(part[0] != "raw" for part in image.tile):  # type: ignore[attr-defined]
        return
    planes = len(image.getbands()) if tags.get(PLANAR_CONFIGURATION) == 2 else 1
    if planes > 1 and max(tags.get(BITS_PER_SAMPLE, (1,))) > 8:
        raise OSError("samples of 16 bits in separate planes are not supported")
    if image.mode == "YCbCr" and tags.get(CHROMA_SUBSAMPLING, (1, 1)) != (1, 1):
        raise OSError("uncompressed pixels with fewer samples of chroma are not supported")
    parts = [part[1] for part in image.tile]  # type: ignore[attr-defined]
    area = sum((right - left) * (bottom - top) for left, top, right, bottom in parts)
    if area < image.width * image.height * planes:
        raise OSError("image file is truncated: strips are missing")


def _check_rows(image: Image.Image, file: BinaryIO) -> None:
    """Refuse a PNG file whose compressed pixels end early: its last row is zero, or the one before if interlaced."""
    if image.format != "PNG":
        return
    last = np.asarray(image.crop((0, max(image.height - 2, 0), image.width, image.height)))
    if not all(row.any() for row in last) and not png.has_all_rows(file):
        raise OSError("image file is truncated: rows are missing")
