"""Drawn face, which the face networks find as they find a photograph's, and frames in which several move."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

SIDE = 400  # pixels of the drawing
BACKGROUND = (90, 110, 130)
HAIR, SKIN, SHADE, LIPS, WHITE, IRIS, BLACK = (
    "#3c281e",
    "#d7a58a",
    "#c48a72",
    "#af5550",
    "#f5f0eb",
    "#462d1e",
    "#0a0a0a",
)
# Ellipses from back to front: centre, half axes, colour. Hair, shoulders, ears, face, fringe, forehead, nose, lips.
ELLIPSES = (
    (200, 185, 125, 150, HAIR), (200, 390, 150, 50, "#283c64"), (98, 215, 14, 28, SHADE), (302, 215, 14, 28, SHADE),
    (200, 210, 100, 130, SKIN), (200, 120, 95, 50, HAIR), (200, 190, 92, 85, SKIN), (200, 240, 15, 22, SHADE),
    (200, 288, 34, 11, LIPS),
)  # fmt: skip
EYE = ((20, 11, WHITE), (9, 10, IRIS), (4, 4, BLACK))  # half axes and colour
LOOP = 60  # frames after which the movement repeats


def draw_face() -> Image.Image:
    """Return a face from the front, RGB, 400 x 400 pixels."""
    image = Image.new("RGB", (SIDE, SIDE), BACKGROUND)
    draw = ImageDraw.Draw(image)

    def ellipse(x: float, y: float, across: float, down: float, color: str) -> None:
        draw.ellipse((x - across, y - down, x + across, y + down), fill=color)

    for values in ELLIPSES:
        ellipse(*values)
    for x in (160, 240):
        for across, down, color in EYE:
            ellipse(x, 195, across, down, color)
        draw.arc((x - 24, 160, x + 24, 190), 200, 340, fill=HAIR, width=7)
    draw.line((168, 288, 232, 288), fill="#6e2d2d", width=3)
    return image.filter(ImageFilter.GaussianBlur(2))


def draw_frames(count: int, width: int = 640, height: int = 480) -> list[npt.NDArray[np.uint8]]:
    """Return a loop of frames with moving faces.

    Args:
        count: Number of faces.
        width: Width of a frame in pixels, 640 by default.
        height: Height of a frame in pixels, 480 by default.

    Returns:
        RGB frames, uint8 (height, width, 3).
    """
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    cell = width // columns, height // rows
    side = int(0.8 * min(cell))
    face = draw_face().resize((side, side), Image.Resampling.LANCZOS)
    frames = []
    for index in range(LOOP):
        frame = Image.new("RGB", (width, height), BACKGROUND)
        angle = math.tau * index / LOOP
        for number in range(count):
            row, column = divmod(number, columns)
            x = column * cell[0] + (cell[0] - side) / 2 * (1 + math.sin(angle + number))
            y = row * cell[1] + (cell[1] - side) / 2 * (1 + math.cos(angle + number))
            frame.paste(face, (round(x), round(y)))
        frames.append(np.asarray(frame))
    return frames
