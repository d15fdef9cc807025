"""Corruptions of face crops: what cameras, detectors and compression do to a face, at fixed strengths.

The kinds follow ImageNet-C (Hendrycks and Dietterich, ICLR 2019), with those of a face detector added: boxes that are
moved, scaled, stretched or turned, and covered parts of the face.

A picture is the square of a face, of any side. Lengths are relative to its side, or in pixels of a face of 48 x 48, the
size of FERPlus; a larger picture is damaged in proportion. JPEG works on the picture's own pixels. Pictures larger than
the model's input are reduced to it first, as the runtime does. Boxes read beyond the picture repeat its edge pixels.

This module needs only NumPy and Pillow, so that a training script can use it.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Pixels = npt.NDArray[np.uint8]
Change = Callable[[Pixels, np.random.Generator], Pixels]

SIZE = 112  # side of a model's input
FACE = 48  # side of the picture that lengths in pixels refer to
DARK = 20  # level of covers


@dataclass(frozen=True)
class Corruption:
    """One kind of damage at one strength."""

    name: str  # unique: "blur 1"
    kind: str  # "blur"; the strengths of a kind are averaged first
    strength: str  # "sigma 1 of 48 px"
    change: Change = field(repr=False, compare=False)  # of one picture, (S, S) or (S, S, 3), to one of any side
    needs_color: bool = False  # no effect on grey pictures


def corrupt(images: Pixels, corruption: Corruption, seed: int = 0) -> Pixels:
    """Damage pictures and resample them to the input size of a model.

    Random changes are seeded by `seed` and the pixels of each picture, so that they depend neither on the order of the
    pictures nor on the other pictures.

    Args:
        images: Square pictures, uint8 (N, S, S) or (N, S, S, 3) RGB.
        corruption: Entry of `CORRUPTIONS`.
        seed: Seed of random changes; 0 by default.

    Returns:
        Damaged pictures, uint8 (N, 112, 112) or (N, 112, 112, 3).

    Raises:
        ValueError: Array of another type or shape.
    """
    square = images.ndim in (3, 4) and images.shape[1] == images.shape[2] > 0 and images.shape[3:] in ((), (3,))
    if images.dtype != np.uint8 or not square:
        raise ValueError(f"the pictures are {images.dtype} {images.shape}; expected uint8 (N, S, S) or (N, S, S, 3)")
    out = np.empty((len(images), SIZE, SIZE, *images.shape[3:]), np.uint8)
    for index, image in enumerate(images):
        picture = resize(image, SIZE) if len(image) > SIZE else image
        random = np.random.default_rng((seed, zlib.crc32(picture.tobytes())))
        out[index] = resize(corruption.change(picture, random), SIZE)
    return out


def resize(picture: Pixels, size: int) -> Pixels:
    """Resample a picture as the runtime does: bilinear with antialiasing, horizontally first."""
    if picture.shape[:2] == (size, size):
        return picture
    height = len(picture)
    narrow = Image.fromarray(picture).resize((size, height), Image.Resampling.BILINEAR)
    return np.asarray(narrow.resize((size, size), Image.Resampling.BILINEAR))


def _same(picture: Pixels, random: np.random.Generator) -> Pixels:
    return picture


def _box(right: float = 0.0, down: float = 0.0, width: float = 1.0, height: float = 1.0) -> Change:
    """Return the change to another box: its shift and size relative to the side."""

    def change(picture: Pixels, random: np.random.Generator) -> Pixels:
        side = len(picture)
        margin = math.ceil(side * max(0.0, abs(right) + (width - 1) / 2, abs(down) + (height - 1) / 2))
        left, top = (margin + side * (0.5 + shift - length / 2) for shift, length in ((right, width), (down, height)))
        image = Image.fromarray(_pad(picture, margin))
        filter_ = Image.Resampling.BILINEAR
        narrow = image.resize((SIZE, image.height), filter_, (left, 0, left + side * width, image.height))
        return np.asarray(narrow.resize((SIZE, SIZE), filter_, (0, top, SIZE, top + side * height)))

    return change


def _turn(degrees: float) -> Change:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def change(picture: Pixels, random: np.random.Generator) -> Pixels:
        side = len(picture)
        margin = math.ceil(side * (abs(cos) + abs(sin) - 1) / 2) + 1
        scale, centre = side / SIZE, margin + side / 2
        x, y = centre - (cos - sin) * side / 2, centre - (sin + cos) * side / 2
        matrix = (cos * scale, -sin * scale, x, sin * scale, cos * scale, y)
        image = Image.fromarray(_pad(picture, margin))
        return np.asarray(image.transform((SIZE, SIZE), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))

    return change


def _pad(picture: Pixels, margin: int) -> Pixels:
    """Repeat the edge pixels of a picture."""
    rows = np.clip(np.arange(-margin, len(picture) + margin), 0, len(picture) - 1)
    return picture[rows][:, rows]


def _levels(function: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]) -> Change:
    """Return the change of each value by a function of values from 0 to 255."""
    table = _to_uint8(function(np.arange(256.0)))
    return lambda picture, random: table[picture]


def _contrast(factor: float) -> Change:
    """Return the change of contrast about the mean of the picture."""

    def change(picture: Pixels, random: np.random.Generator) -> Pixels:
        mean = float(picture.mean())
        return _to_uint8(mean + factor * (np.arange(256.0) - mean))[picture]

    return change


def _side_light(left: float, right: float) -> Change:
    """Return the change to light that falls off from left to right: its factors at the edges."""

    def change(picture: Pixels, random: np.random.Generator) -> Pixels:
        factors = np.linspace(left, right, len(picture), dtype=np.float32).reshape(1, -1, *[1] * (picture.ndim - 2))
        return _to_uint8(picture * factors)

    return change


def _channels(*factors: float) -> Change:
    """Return the change of the red, green and blue channel by factors; a grey picture becomes coloured."""

    def change(picture: Pixels, random: np.random.Generator) -> Pixels:
        color = picture if picture.ndim == 3 else picture[..., None]
        damaged = _to_uint8(color * np.array(factors, np.float32))
        return damaged if picture.ndim == 3 else _luma(damaged)

    return change


def _grey(picture: Pixels, random: np.random.Generator) -> Pixels:
    return picture if picture.ndim == 2 else np.repeat(_luma(picture)[..., None], 3, axis=2)


def _luma(picture: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(picture).convert("L"))


def _jpeg(quality: int) -> Change:
    def change(picture: Pixels, random: np.random.Generator) -> Pixels:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file, formats=("JPEG",)))

    return change


def _downscale(side: int) -> Change:
    """Return the change to fewer pixels; blocks of whole pixels are averaged first, as many scalers do."""

    def change(picture: Pixels, random: np.random.Generator) -> Pixels:
        if len(picture) <= side:
            return picture
        return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR, reducing_gap=1.0))

    return change


def _blur(sigma: float) -> Change:
    """Return a Gaussian blur; `sigma` in pixels of a face of 48."""

    def change(picture: Pixels, random: np.random.Generator) -> Pixels:
        return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(sigma * len(picture) / FACE)))

    return change


def _motion_blur(length: float) -> Change:
    """Return the blur of a horizontal motion; `length` in pixels of a face of 48."""

    def change(picture: Pixels, random: np.random.Generator) -> Pixels:
        side = len(picture)
        pixels = length * side / FACE
        reach = math.ceil((pixels - 1) / 2)
        weights = np.clip((pixels + 1) / 2 - np.abs(np.arange(-reach, reach + 1)), 0, 1) / pixels
        padded = _pad(picture, reach)[reach : reach + side]
        return _to_uint8(sum(weight * padded[:, first : first + side] for first, weight in enumerate(weights)))

    return change


def _noise(sigma: float) -> Change:
    """Return Gaussian noise in levels, independent in each channel, with the grain of a face of 48 pixels."""

    def change(picture: Pixels, random: np.random.Generator) -> Pixels:
        side = len(picture)
        noise = random.standard_normal((FACE, FACE, *picture.shape[2:]), np.float32)
        if side != FACE:
            planes = [Image.fromarray(plane) for plane in np.atleast_3d(noise).transpose(2, 0, 1)]
            planes = [plane.resize((side, side), Image.Resampling.BILINEAR) for plane in planes]
            noise = np.stack([np.asarray(plane) for plane in planes], axis=-1).reshape(picture.shape)
        return _to_uint8(picture + sigma * noise)

    return change


def _cover(left: float, top: float, right: float, bottom: float) -> Change:
    """Return the change that covers a rectangle, relative to the side, with a dark level."""

    def change(picture: Pixels, random: np.random.Generator) -> Pixels:
        x0, y0, x1, y1 = (round(edge * len(picture)) for edge in (left, top, right, bottom))
        covered = picture.copy()
        covered[y0:y1, x0:x1] = DARK
        return covered

    return change


def _to_uint8(values: npt.NDArray[Any]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


UNCHANGED = Corruption("unchanged", "unchanged", "", _same)

_DIRECTIONS = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}

CORRUPTIONS: tuple[Corruption, ...] = (
    *(
        Corruption(f"shift {name} {percent} %", "shift", f"box moved by {percent} % of its side",
                   _box(x * percent / 100, y * percent / 100))
        for percent in (5, 10, 20)
        for name, (x, y) in _DIRECTIONS.items()
    ),
    *(
        Corruption(f"box x {scale}", "box size", f"side of the box x {scale}", _box(width=scale, height=scale))
        for scale in (0.7, 0.8, 0.9, 1.1, 1.2, 1.4)
    ),
    Corruption("box 20 % narrower", "box shape", "width x 0.8, stretched to a square", _box(width=0.8)),
    Corruption("box 20 % lower", "box shape", "height x 0.8, stretched to a square", _box(height=0.8)),
    Corruption("box 20 % higher", "box shape", "height x 1.2, stretched to a square", _box(height=1.2)),
    *(
        Corruption(f"turned {degrees}", "turn", f"{abs(degrees)} degrees {'counter' * (degrees > 0)}clockwise",
                   _turn(degrees))
        for degrees in (-30, -20, -10, 10, 20, 30)
    ),
    *(
        Corruption(f"brightness {levels:+d}", "brightness", f"{levels:+d} of 255",
                   _levels(lambda values, levels=levels: values + levels))  # type: ignore[misc]
        for levels in (-80, -40, 40, 80)
    ),
    *(
        Corruption(f"contrast x {factor}", "contrast", f"x {factor} about the mean", _contrast(factor))
        for factor in (0.5, 0.25)
    ),
    *(
        Corruption(f"gamma {gamma}", "gamma", f"exponent {gamma}",
                   _levels(lambda values, gamma=gamma: 255 * (values / 255) ** gamma))  # type: ignore[misc]
        for gamma in (0.5, 2.0)
    ),
    Corruption("light from one side", "side light", "x 1.3 on the left to x 0.3 on the right", _side_light(1.3, 0.3)),
    *(Corruption(f"JPEG {quality}", "JPEG", f"quality {quality}", _jpeg(quality)) for quality in (50, 20, 10)),
    *(
        Corruption(f"downscaled to {side}", "downscaling", f"face of {side} px", _downscale(side))
        for side in (32, 24, 16, 12)
    ),
    *(Corruption(f"blur {sigma}", "blur", f"sigma {sigma} px of 48", _blur(sigma)) for sigma in (1, 2)),
    Corruption("motion blur 7", "motion blur", "7 px of 48, horizontal", _motion_blur(7)),
    *(Corruption(f"noise {sigma}", "noise", f"sigma {sigma} of 255", _noise(sigma)) for sigma in (10, 25)),
    Corruption("upper half covered", "cover", "dark", _cover(0, 0, 1, 0.5)),
    Corruption("lower half covered", "cover", "dark", _cover(0, 0.5, 1, 1)),
    Corruption("left half covered", "cover", "dark", _cover(0, 0, 0.5, 1)),
    Corruption("eyes covered", "cover", "dark bar, as sunglasses", _cover(0.1, 0.25, 0.9, 0.45)),
    Corruption("mouth covered", "cover", "dark rectangle, as a hand", _cover(0.2, 0.62, 0.8, 0.95)),
    Corruption("headset", "cover", "dark from forehead to nose", _cover(0, 0.1, 1, 0.55)),
    Corruption("grey", "colour", "no colour", _grey, needs_color=True),
    Corruption("colour cast", "colour", "red x 0.7, blue x 0.7: green light", _channels(0.7, 1.0, 0.7)),
    Corruption("white balance", "colour", "red x 1.3, blue x 0.7: warm light", _channels(1.3, 1.0, 0.7)),
)  # fmt: skip
