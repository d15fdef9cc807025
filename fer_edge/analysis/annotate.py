"""Copies of images with face boxes and names."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from PIL import Image, ImageColor, ImageDraw, ImageFont

from fer_edge.boxes import XYWH

MIN_SIDE = 320  # longer side in pixels below which a copy is enlarged, since no text fits
MIN_TEXT = 12  # height of the text in pixels
TEXT_SHARE, SMALL_TEXT_SHARE = 0.022, 0.012  # height of the text divided by the longer side, for large and small faces
TEXT_IN_BOX = 0.25  # height of the text divided by the side of a small face
LINE_SHARE = 1 / 400  # width of a box's line divided by the longer side
DARK, LIGHT = "#000000", "#ffffff"
Rectangle = tuple[int, int, int, int]  # left, top, right, bottom


@dataclass(frozen=True)
class Mark:
    """Box and name of a face, in pixels of the image."""

    box: XYWH
    text: str
    color: str  # "#rrggbb"

    def scale(self, factor: float) -> Mark:
        """Return the mark for an image that is scaled by a factor."""
        x, y, width, height = self.box
        return replace(self, box=(x * factor, y * factor, width * factor, height * factor))


def annotate(image: Image.Image, marks: Sequence[Mark], *, enlarge: bool = True) -> Image.Image:
    """Return a copy of an image with boxes and names.

    Lines and text grow with the image, so that they are readable when it is shown on a screen.

    Args:
        image: RGB image.
        marks: Faces; names do not cover each other if there is room.
        enlarge: Whether an image below 320 pixels is enlarged by a whole factor, so that text fits. True by default.
    """
    factor = -(-MIN_SIDE // max(image.size)) if enlarge and max(image.size) < MIN_SIDE else 1
    size = image.width * factor, image.height * factor
    copy = image.copy() if factor == 1 else image.resize(size, Image.Resampling.BICUBIC)
    marks = [mark.scale(factor) for mark in marks]
    pen = ImageDraw.Draw(copy)
    longer = max(size)
    width = max(2, round(longer * LINE_SHARE))
    font = _font(_text_height(longer, [mark.box[2] for mark in marks]))
    for mark in marks:
        x, y, w, h = mark.box
        edge = max(1, width // 2)  # around the line, so that it is visible on every background
        outer = (x - edge, y - edge, x + w + edge, y + h + edge)
        pen.rounded_rectangle(outer, radius=2 * width + edge, outline=DARK, width=width + 2 * edge)
        pen.rounded_rectangle((x, y, x + w, y + h), radius=2 * width, outline=mark.color, width=width)
    names: list[Rectangle] = []
    for mark in marks:
        x, y, w, h = mark.box
        place = _place_name(pen, font, mark.text, (x, y, x + w, y + h), size, names)
        names.append(place)
        pen.rectangle(place, fill=mark.color)
        margin = _margin(font)
        pen.text((place[0] + margin, place[1] + margin), mark.text, fill=_text_color(mark.color), font=font)
    return copy


def _text_height(longer: int, sides: Sequence[float]) -> int:
    """Return the height of the text in pixels: smaller if most faces are small, so that names cover less."""
    height = TEXT_SHARE * longer
    if sides:
        height = min(height, max(TEXT_IN_BOX * median(sides), SMALL_TEXT_SHARE * longer))
    return max(MIN_TEXT, round(height))


def _place_name(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    text: str,
    box: tuple[float, float, float, float],
    size: tuple[int, int],
    taken: Sequence[Rectangle],
) -> Rectangle:
    """Return the rectangle of a name: above the box, below it, or inside, where no other name is."""
    margin = _margin(font)
    left, _, right, bottom = pen.textbbox((0, 0), text, font=font, anchor="la")
    width, height = round(right - left) + 2 * margin, round(bottom) + 2 * margin
    x = round(min(max(box[0], 0), max(size[0] - width, 0)))
    places = [
        (x, round(y), x + width, round(y) + height)
        for y in (box[1] - height, box[3], box[1], box[3] - height)
        if 0 <= y <= size[1] - height
    ]
    free = (place for place in places if not any(_overlap(place, other) for other in taken))
    y = round(min(max(box[1], 0), max(size[1] - height, 0)))
    return next(free, places[0] if places else (x, y, x + width, y + height))


def _overlap(first: Rectangle, second: Rectangle) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


@functools.lru_cache(maxsize=8)
def _font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(height)


def _margin(font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return max(2, round(getattr(font, "size", MIN_TEXT) / 5))


def _text_color(background: str) -> str:
    red, green, blue = ImageColor.getrgb(background)[:3]
    return DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else LIGHT
