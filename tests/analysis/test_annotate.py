"""Annotated copies: size of the text, and names that do not cover each other."""

from __future__ import annotations

import re
from importlib import resources

import pytest
from PIL import Image, ImageDraw

from fer_edge.analysis.annotate import MIN_SIDE, Mark, _font, _place_name, annotate
from fer_edge.html.theme import EXPRESSIONS, SERIES, colors_of


@pytest.mark.parametrize("size", [(48, 48), (640, 480), (4000, 3000)])
def test_names_are_readable_at_every_size(size: tuple[int, int]) -> None:
    width, height = size
    image = Image.new("RGB", size, "#000000")
    mark = Mark((width * 0.3, height * 0.3, width * 0.4, height * 0.4), "1 happiness 1.00", "#ff0000")
    copy = annotate(image, [mark])
    assert max(copy.size) >= MIN_SIDE and copy.width * height == copy.height * width
    assert image.getextrema() == ((0, 0),) * 3  # the image is unchanged
    name = copy.crop((0, 0, copy.width, round(copy.height * 0.3)))  # above the box
    left, top, right, bottom = name.getbbox() or (0, 0, 0, 0)
    # On a screen that shows the copy 640 pixels wide, the name has a height of at least 12 pixels.
    assert (bottom - top) * 640 / copy.width >= 12 and (right - left) / copy.width < 0.5


def test_names_move_out_of_each_others_way() -> None:
    pen, font, size = ImageDraw.Draw(Image.new("RGB", (640, 480))), _font(14), (640, 480)
    places: list[tuple[int, int, int, int]] = []
    for x in (100, 110, 120, 130):
        places.append(_place_name(pen, font, "happiness", (x, 100, x + 80, 180), size, places))
    tops = [top for _, top, _, _ in places]
    assert len(set(tops)) == 4 and tops[0] < 100 and 180 in tops
    left, top, right, bottom = _place_name(pen, font, "happiness", (-50, -50, 700, 500), size, ())
    assert left >= 0 and top >= 0 and right <= 640 and bottom <= 480


def test_colors_are_those_of_the_live_page() -> None:
    script = resources.files("fer_edge").joinpath("live/page/colours.js").read_text()
    named = script[script.index("NAMED") : script.index("OTHERS")]
    assert dict(re.findall(r'(\w+): "(#\w+)"', named)) == EXPRESSIONS


def test_colors_of_labels_are_distinct() -> None:
    colors = colors_of([*EXPRESSIONS, "calm", "smile"])
    assert len(set(colors.values())) == len(colors) == 10
    assert colors_of(["calm", "smile"]) == {"calm": SERIES[0], "smile": SERIES[1]}
