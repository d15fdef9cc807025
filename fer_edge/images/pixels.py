"""Conversion of decoded images of any pixel format to 8-bit RGB.

An image with more than 8 bits, or with float values, is scaled by its range: the range of its type, or the range stated
in the file if the values are far below that of the type. An image that fills neither range is refused, since the result
would be nearly black: of 300 faces of FERPlus none is darker than a quarter of the range. At a quarter of the
brightness the shipped model predicts another label for 16 % of them, at a sixteenth for 60 %.

The result is written block by block, without a second copy of the image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from fer_edge.engines.base import Images
from fer_edge.errors import ImageError
from fer_edge.images import png

BLOCK_PIXELS = 1 << 16
MIN_BRIGHTNESS = 1 / 4  # share of the range that the brightest pixel must reach
UNSIGNED, SIGNED, FLOAT = 1, 2, 3  # values of TIFF's SampleFormat
TIFF_BITS, TIFF_PHOTOMETRIC, TIFF_EXTRA, TIFF_FORMAT = 258, 262, 338, 339
TIFF_STATED = ((340, 341), (280, 281))  # SMinSampleValue and SMaxSampleValue, MinSampleValue and MaxSampleValue
WITH_ALPHA = frozenset({"RGBA", "RGBa", "LA", "La", "PA"})
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class SampleFormat:
    """Type and range of a file's samples."""

    bits: int = 8
    kind: int = UNSIGNED
    inverted: bool = False  # 0 is white
    stated: tuple[float, float] | None = None  # smallest and largest value stated in the file
    premultiplied: bool = False  # colours are multiplied by alpha

    @property
    def largest(self) -> int:
        """Largest value of an integer type."""
        return (1 << (self.bits - (self.kind == SIGNED))) - 1

    def __str__(self) -> str:
        return "float" if self.kind == FLOAT else f"{self.bits}-bit"


def read_sample_format(image: Image.Image, file: BinaryIO) -> SampleFormat:
    """Read the sample format of a PNG or TIFF file; all other formats have 8 bits.

    Args:
        image: Opened image.
        file: File of the image; its position changes.
    """
    if image.format == "PNG":
        depth = png.bit_depth(file)
        significant = png.significant_bits(file) if depth > 8 else None
        return SampleFormat(depth, stated=None if significant is None else (0, (1 << significant) - 1))
    tags: Any = getattr(image, "tag_v2", None)
    if image.format != "TIFF" or tags is None:
        return SampleFormat()
    bits = max(_numbers(tags, TIFF_BITS) or [1])
    kind = (_numbers(tags, TIFF_FORMAT) or [UNSIGNED])[0]
    inverted, premultiplied = _numbers(tags, TIFF_PHOTOMETRIC) == [0], 1 in _numbers(tags, TIFF_EXTRA)
    return SampleFormat(int(bits), int(kind), inverted, _stated_range(tags), premultiplied)


def _numbers(tags: Any, tag: int) -> list[float]:
    value = tags.get(tag, ())
    return [number for number in (value if isinstance(value, tuple) else (value,)) if isinstance(number, (int, float))]


def _stated_range(tags: Any) -> tuple[float, float] | None:
    for smallest, largest in TIFF_STATED:
        top = _numbers(tags, largest)
        if top:
            return min(_numbers(tags, smallest) or [0]), max(top)
    return None


def write_rgb(image: Image.Image, samples: SampleFormat, out: Images) -> None:
    """Convert a loaded image to RGB: grey becomes three equal channels, transparent pixels are composited on black.

    Args:
        image: Loaded image of any mode.
        samples: Sample format of its file.
        out: Array for the result, uint8 (H, W, 3).

    Raises:
        ImageError: Image with an unknown range, or fully transparent; the text completes the sentence "FILE ...".
    """
    if image.mode.startswith(("I", "F")) or (image.mode == "L" and samples.kind == SIGNED):
        _write_wide(image, samples, out)
    else:
        _write_narrow(image, samples, out)


def _blocks(size: tuple[int, int]) -> Iterator[Box]:
    width, height = size
    columns = min(width, BLOCK_PIXELS)
    rows = BLOCK_PIXELS // columns
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield left, top, min(left + columns, width), min(top + rows, height)


# Images with one channel of more than 8 bits.


def _write_wide(image: Image.Image, samples: SampleFormat, out: Images) -> None:
    low, high = math.inf, -math.inf
    for box in _blocks(image.size):
        values = _values(image, box, samples)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        if not np.isfinite(values).all():
            raise ImageError("has values that are NaN or infinite; expected finite values: replace them before saving")
    bottom, top = _range(samples, low, high)
    key = image.info.get("transparency")
    for box in _blocks(image.size):
        values = _values(image, box, samples)
        grey = np.rint((values.astype(np.float64) - bottom) * (255 / (top - bottom))).clip(0, 255).astype(np.uint8)
        if samples.inverted:
            grey = 255 - grey
        if isinstance(key, int):
            grey[values == key] = 0
        _block_view(out, box)[:] = grey[:, :, None]


def _values(image: Image.Image, box: Box, samples: SampleFormat) -> npt.NDArray[Any]:
    """Return the values of a block with their sign: Pillow has no unsigned 32-bit mode and no signed 8-bit mode."""
    values = np.asarray(image.crop(box))
    if values.dtype == np.int32 and (samples.bits, samples.kind) == (32, UNSIGNED):
        return values.view(np.uint32)
    return values.view(np.int8) if values.dtype == np.uint8 else values


def _range(samples: SampleFormat, low: float, high: float) -> tuple[float, float]:
    """Return the values of black and white.

    Raises:
        ImageError: Values that fit neither the stated range nor that of their type.
    """
    stated = samples.stated
    fits = stated is not None and stated[0] <= low <= high <= stated[1] and high - stated[0] >= _min_brightness(*stated)
    if stated is not None and fits and samples.kind == FLOAT:
        return stated
    usual = [(0.0, 1.0), (0.0, 255.0)] if samples.kind == FLOAT else [(0.0, float(samples.largest))]
    for bottom, top in usual:
        if low >= bottom and (low == high == 0 or _min_brightness(bottom, top) <= high <= top):
            return bottom, top
    if stated is not None and fits:
        return stated
    raise ImageError(_describe_range(samples, low, high))


def _min_brightness(bottom: float, top: float) -> float:
    """Return the required distance of the brightest value from black; infinite for an empty range."""
    return MIN_BRIGHTNESS * (top - bottom) if top > bottom else math.inf


def _describe_range(samples: SampleFormat, low: float, high: float) -> str:
    if samples.kind == FLOAT:
        return (
            f"has float values from {low:g} to {high:g}; expected 0 to 1 or 0 to 255, and a brightest "
            "pixel of at least a quarter of that: scale the values, or save the image with 8 bits"
        )
    if low < 0:
        return (
            f"has signed values from {low:.0f} to {high:.0f}; expected values from 0: "
            "scale them, or save the image with 8 bits"
        )
    return (
        f"has only values up to {high:.0f} of {samples.largest}: {int(high).bit_length()}-bit values in a "
        f"{samples.bits}-bit file, or a nearly black image; scale them to the whole range, or save it with 8 bits"
    )


# Images with 8 bits, or reduced to 8 bits by Pillow.


def _write_narrow(image: Image.Image, samples: SampleFormat, out: Images) -> None:
    _scale_transparent_colour(image, samples)
    with_alpha = image.mode in WITH_ALPHA or "transparency" in image.info
    alpha = brightest = 0
    for box in _blocks(image.size):
        block = image if box == (0, 0, *image.size) else image.crop(box)
        if with_alpha:
            rgba = _rgba(block)
            alpha = max(alpha, _largest(rgba.getchannel("A")))
            block = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
        pixels = _block_view(out, box)
        pixels[:] = np.asarray(block if block.mode == "RGB" else block.convert("RGB"))
        if samples.bits > 8:
            brightest = max(brightest, int(pixels.max()))
    if with_alpha and alpha < 256 * MIN_BRIGHTNESS and (samples.premultiplied or _has_contrast(image)):
        _without_alpha(image, alpha, out)
    elif samples.bits > 8 and brightest < 256 * MIN_BRIGHTNESS:
        raise ImageError(
            f"fills less than a quarter of its {samples.bits}-bit range: values of fewer bits, or a nearly black "
            "image; scale them to the whole range, or save it with 8 bits"
        )


def _rgba(block: Image.Image) -> Image.Image:
    if block.mode in ("La", "RGBa"):  # premultiplied
        block = block.convert({"La": "LA", "RGBa": "RGBA"}[block.mode])
    return block.convert("RGBA")


def _largest(channel: Image.Image) -> int:
    return int(np.asarray(channel).max())


def _without_alpha(image: Image.Image, alpha: int, out: Images) -> None:
    """Write the colours without an unused alpha channel of zeros, as in the 32-bit BMP files of frame grabbers."""
    if image.format != "BMP" or alpha:
        raise ImageError(
            f"is transparent everywhere (alpha at most {alpha} of 255), and would be nearly black on a black "
            "background: save it without its alpha channel"
        )
    for box in _blocks(image.size):
        _block_view(out, box)[:] = np.asarray(image.crop(box).convert("RGB"))


def _has_contrast(image: Image.Image) -> bool:
    """Return whether the colours differ anywhere, ignoring transparency."""
    first = None
    for box in _blocks(image.size):
        block = image.crop(box)
        block.info.pop("transparency", None)
        colours = np.asarray(block.convert("RGB"))
        first = colours[0, 0].copy() if first is None else first
        if (colours != first).any():
            return True
    return False


def _scale_transparent_colour(image: Image.Image, samples: SampleFormat) -> None:
    """Scale the transparent colour of a PNG file to 8 bits, as Pillow scales the pixels."""
    key = image.info.get("transparency")
    if image.format != "PNG" or image.mode not in ("1", "L", "RGB") or samples.bits == 8 or key is None:
        return
    if isinstance(key, tuple):
        image.info["transparency"] = tuple(value >> (samples.bits - 8) for value in key)
    elif isinstance(key, int):
        image.info["transparency"] = min(key * 255 // ((1 << samples.bits) - 1), 255)


def _block_view(out: Images, box: Box) -> Images:
    left, top, right, bottom = box
    return out[top:bottom, left:right]
