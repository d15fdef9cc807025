"""Conversion of decoded pictures of every pixel format to RGB of 8 bits.

A picture of more than 8 bits, or of float values, is scaled by its range: what its type can hold, or what the file
states where the values stay far below that. Values that fill neither range are refused, since the result would be
nearly black: of 300 faces of FERPlus none is darker than a quarter of the range, and at a quarter of its brightness
the shipped model gives 16 % of them another label, at a sixteenth 60 %.

The result is written block by block, so that no second copy of the picture is made.
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
DARKEST = 1 / 4  # share of the range that the brightest pixel reaches at least
UNSIGNED, SIGNED, FLOAT = 1, 2, 3  # TIFF's SampleFormat
TIFF_BITS, TIFF_PHOTOMETRIC, TIFF_EXTRA, TIFF_FORMAT = 258, 262, 338, 339
TIFF_STATED = ((340, 341), (280, 281))  # SMinSampleValue and SMaxSampleValue, MinSampleValue and MaxSampleValue
WITH_ALPHA = frozenset({"RGBA", "RGBa", "LA", "La", "PA"})
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Samples:
    """Numbers in which a file stores its pixels."""

    bits: int = 8
    kind: int = UNSIGNED
    inverted: bool = False  # 0 is white
    stated: tuple[float, float] | None = None  # smallest and largest value, where the file states them
    premultiplied: bool = False  # colours are stored after multiplication by alpha

    @property
    def largest(self) -> int:
        """Largest value of the type, for integers."""
        return (1 << (self.bits - (self.kind == SIGNED))) - 1

    def __str__(self) -> str:
        return "float" if self.kind == FLOAT else f"{self.bits}-bit"


def samples_of(image: Image.Image, file: BinaryIO) -> Samples:
    """Read how a PNG or TIFF file stores its pixels; every other format has 8 bits.

    Args:
        image: Opened file.
        file: The same file, which is left at another place.
    """
    if image.format == "PNG":
        depth = png.bit_depth(file)
        significant = png.significant_bits(file) if depth > 8 else None
        return Samples(depth, stated=None if significant is None else (0, (1 << significant) - 1))
    tags: Any = getattr(image, "tag_v2", None)
    if image.format != "TIFF" or tags is None:
        return Samples()
    bits = max(_numbers(tags, TIFF_BITS) or [1])
    kind = (_numbers(tags, TIFF_FORMAT) or [UNSIGNED])[0]
    inverted, premultiplied = _numbers(tags, TIFF_PHOTOMETRIC) == [0], 1 in _numbers(tags, TIFF_EXTRA)
    return Samples(int(bits), int(kind), inverted, _stated_range(tags), premultiplied)


def _numbers(tags: Any, tag: int) -> list[float]:
    value = tags.get(tag, ())
    return [number for number in (value if isinstance(value, tuple) else (value,)) if isinstance(number, (int, float))]


def _stated_range(tags: Any) -> tuple[float, float] | None:
    for smallest, largest in TIFF_STATED:
        top = _numbers(tags, largest)
        if top:
            return min(_numbers(tags, smallest) or [0]), max(top)
    return None


def write_rgb(image: Image.Image, samples: Samples, out: Images) -> None:
    """Convert a loaded picture to RGB: grey becomes three equal channels, transparency is laid on black.

    Args:
        image: Loaded picture of any mode.
        samples: Numbers that it was stored in.
        out: Result, uint8 (H, W, 3).

    Raises:
        ImageError: The picture cannot be converted without losing it. The text completes the sentence "FILE ...".
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


# Pictures of more than 8 bits, of one channel.


def _write_wide(image: Image.Image, samples: Samples, out: Images) -> None:
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
        _at(out, box)[:] = grey[:, :, None]


def _values(image: Image.Image, box: Box, samples: Samples) -> npt.NDArray[Any]:
    """Values of a block with the sign that was stored: Pillow has no unsigned mode of 32 bits, no signed one of 8."""
    values = np.asarray(image.crop(box))
    if values.dtype == np.int32 and (samples.bits, samples.kind) == (32, UNSIGNED):
        return values.view(np.uint32)
    return values.view(np.int8) if values.dtype == np.uint8 else values


def _range(samples: Samples, low: float, high: float) -> tuple[float, float]:
    """Values that become black and white.

    Raises:
        ImageError: No range is stated or usual for these values.
    """
    stated = samples.stated
    fits = stated is not None and stated[0] <= low and high <= stated[1] and high - stated[0] >= _darkest(*stated)
    if stated is not None and fits and samples.kind == FLOAT:
        return stated
    usual = [(0.0, 1.0), (0.0, 255.0)] if samples.kind == FLOAT else [(0.0, float(samples.largest))]
    for bottom, top in usual:
        if low >= bottom and (low == high == 0 or _darkest(bottom, top) <= high <= top):
            return bottom, top
    if stated is not None and fits:
        return stated
    raise ImageError(_why_no_range(samples, low, high))


def _darkest(bottom: float, top: float) -> float:
    """Least distance of the brightest value from black; more than the whole range where that is empty."""
    return DARKEST * (top - bottom) if top > bottom else math.inf


def _why_no_range(samples: Samples, low: float, high: float) -> str:
    if samples.kind == FLOAT:
        return (
            f"has float values from {low:g} to {high:g}; expected 0 to 1 or 0 to 255, of which the brightest pixel "
            "reaches at least a quarter: scale them, or save the picture in 8 bits"
        )
    if low < 0:
        return (
            f"has signed values from {low:.0f} to {high:.0f}; expected values from 0: "
            "scale them, or save the picture in 8 bits"
        )
    return (
        f"uses only values up to {high:.0f} of {samples.largest}: they are of {int(high).bit_length()} bits in a file "
        f"of {samples.bits}, or the picture is nearly black; scale them to the whole range, or save it in 8 bits"
    )


# Pictures of 8 bits, or that Pillow reduced to 8.


def _write_narrow(image: Image.Image, samples: Samples, out: Images) -> None:
    _scale_colour_key(image, samples)
    with_alpha = image.mode in WITH_ALPHA or "transparency" in image.info
    alpha = brightest = 0
    for box in _blocks(image.size):
        block = image if box == (0, 0, *image.size) else image.crop(box)
        if with_alpha:
            clear = _rgba(block)
            alpha = max(alpha, _largest(clear.getchannel("A")))
            block = Image.alpha_composite(Image.new("RGBA", clear.size, (0, 0, 0, 255)), clear)
        pixels = _at(out, box)
        pixels[:] = np.asarray(block if block.mode == "RGB" else block.convert("RGB"))
        if samples.bits > 8:
            brightest = max(brightest, int(pixels.max()))
    if with_alpha and alpha < 256 * DARKEST and (samples.premultiplied or _has_picture(image)):
        _without_alpha(image, alpha, out)
    elif samples.bits > 8 and brightest < 256 * DARKEST:
        raise ImageError(
            f"uses less than a quarter of the range of its {samples.bits} bits: its values are of fewer bits, or the "
            "picture is nearly black; scale them to the whole range, or save it in 8 bits"
        )


def _rgba(block: Image.Image) -> Image.Image:
    if block.mode in ("La", "RGBa"):  # premultiplied
        block = block.convert({"La": "LA", "RGBa": "RGBA"}[block.mode])
    return block.convert("RGBA")


def _largest(channel: Image.Image) -> int:
    return int(np.asarray(channel).max())


def _without_alpha(image: Image.Image, alpha: int, out: Images) -> None:
    """Write the colours alone where an alpha channel of zeros says nothing, as in 32-bit BMP files of grabbers."""
    if image.format != "BMP" or alpha:
        raise ImageError(
            f"is transparent everywhere (alpha at most {alpha} of 255), so that nearly nothing of it is left on black: "
            "save it without its alpha channel"
        )
    for box in _blocks(image.size):
        _at(out, box)[:] = np.asarray(image.crop(box).convert("RGB"))


def _has_picture(image: Image.Image) -> bool:
    """Whether the colours differ anywhere, transparency aside."""
    first = None
    for box in _blocks(image.size):
        block = image.crop(box)
        block.info.pop("transparency", None)
        colours = np.asarray(block.convert("RGB"))
        first = colours[0, 0].copy() if first is None else first
        if (colours != first).any():
            return True
    return False


def _scale_colour_key(image: Image.Image, samples: Samples) -> None:
    """Bring the transparent colour of a PNG file to 8 bits, as Pillow brings the pixels."""
    key = image.info.get("transparency")
    if image.format != "PNG" or image.mode not in ("1", "L", "RGB") or samples.bits == 8 or key is None:
        return
    if isinstance(key, tuple):
        image.info["transparency"] = tuple(value >> (samples.bits - 8) for value in key)
    elif isinstance(key, int):
        image.info["transparency"] = min(key * 255 // ((1 << samples.bits) - 1), 255)


def _at(out: Images, box: Box) -> Images:
    left, top, right, bottom = box
    return out[top:bottom, left:right]
