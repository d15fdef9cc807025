"""Similarities between squares of a frame and inputs of networks, and resampling by them.

Coordinates are continuous: pixel i of a row covers i to i + 1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from fer_edge.engines.base import Images

Points = npt.NDArray[np.float64]  # (N, 2) or (N, 3): x, y and depth


class Similarity(NamedTuple):
    """Rotation, uniform scale and shift: x' = a x - b y + c, y' = b x + a y + d."""

    a: float
    b: float
    c: float
    d: float

    @property
    def scale(self) -> float:
        """Length of the image of a vector of length 1."""
        return math.hypot(self.a, self.b)

    def apply(self, points: Points) -> Points:
        """Map points; a third coordinate is scaled."""
        mapped: Points = points * self.scale
        mapped[:, 0] = self.a * points[:, 0] - self.b * points[:, 1] + self.c
        mapped[:, 1] = self.b * points[:, 0] + self.a * points[:, 1] + self.d
        return mapped

    def inverse(self) -> Similarity:
        """Return the similarity in the other direction."""
        square = self.a * self.a + self.b * self.b
        a, b = self.a / square, -self.b / square
        return Similarity(a, b, b * self.d - a * self.c, -b * self.c - a * self.d)


class Square(NamedTuple):
    """Square of a frame, turned about its centre; lengths in pixels."""

    x: float  # centre
    y: float
    side: float
    angle: float = 0.0  # radians, clockwise in the image

    def from_input(self, size: int) -> Similarity:
        """Return the similarity from an input of `size` x `size` pixels to the frame."""
        a = self.side / size * math.cos(self.angle)
        b = self.side / size * math.sin(self.angle)
        half = size / 2
        return Similarity(a, b, self.x - a * half + b * half, self.y - b * half - a * half)


def fit_similarity(source: Points, target: Points) -> Similarity | None:
    """Return the similarity with the smallest sum of squared distances between mapped source and target points.

    Args:
        source: Points, (N, 2).
        target: Their places in the result, (N, 2).

    Returns:
        The similarity; None if points coincide.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    x, y = (source - source_mean).T
    u, v = (target - target_mean).T
    square = float(x @ x + y @ y)
    a, b = float(x @ u + y @ v), float(x @ v - y @ u)
    if not (square > 0 and math.hypot(a, b) > 0):
        return None
    a, b = a / square, b / square
    x_mean, y_mean = source_mean.tolist()
    u_mean, v_mean = target_mean.tolist()
    return Similarity(a, b, u_mean - a * x_mean + b * y_mean, v_mean - b * x_mean - a * y_mean)


def resample(frame: npt.NDArray[np.uint8], to_frame: Similarity, out: Images, *, color: str = "rgb") -> Images:
    """Resample a turned square of a frame, bilinear; pixels beyond the frame are black.

    Only the part of the frame below the square is copied. If the square is at least twice as large as the result, that
    part is first reduced by a whole factor, as antialiasing.

    Args:
        frame: uint8 (H, W, 3), with channels in the order of `color`.
        to_frame: Similarity from the result to the frame.
        out: Array for the result, RGB, uint8 (size, size, 3).
        color: Channel order of the frame: "rgb", the default, or "bgr".

    Returns:
        `out`.
    """
    size, factor = len(out), max(1, int(to_frame.scale))  # rounding up costs detail that the model uses
    corners = to_frame.apply(np.array([(0, 0), (size, 0), (0, size), (size, size)], np.float64))
    margin = 2 * factor  # pixels that interpolation at the edges reads
    left, top = (max(0, math.floor(value) - margin) for value in corners.min(axis=0))
    right, bottom = (math.ceil(value) + margin for value in corners.max(axis=0))
    part = frame[top : max(bottom, 0), left : max(right, 0)]
    if not part.size:
        out[:] = 0
        return out
    image = Image.fromarray(np.ascontiguousarray(part))
    if factor > 1:
        image = image.reduce(factor)
    a, b = to_frame.a / factor, to_frame.b / factor
    coefficients = (a, -b, (to_frame.c - left) / factor, b, a, (to_frame.d - top) / factor)
    warped = np.asarray(image.transform((size, size), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR))
    out[:] = warped if color == "rgb" else warped[:, :, ::-1]
    return out
