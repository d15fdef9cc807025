"""Matplotlib figures as PNG files, in the colours of the pages."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.figure import Figure

from fer_edge.html.theme import FAINT, INK, LINE, PAPER

Arguments = ParamSpec("Arguments")
DPI = 192
CSS_PIXELS = 96  # per inch
SETTINGS: Any = {  # its type differs between versions of matplotlib
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "text.color": INK,
    "text.parse_math": False,  # labels may contain a dollar sign
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "axes.grid": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "font.family": "DejaVu Sans",  # ships with matplotlib, so figures are equal on every machine
    "font.size": 10,
}


@dataclass(frozen=True)
class Picture:
    """A figure as a PNG file."""

    data: bytes
    width: int  # CSS pixels
    height: int
    text: str  # alternative text


def draw(text: str, figure: Callable[Arguments, Figure], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Picture:
    """Draw a figure; equal figures give equal bytes.

    Args:
        text: Alternative text.
        figure: Function that creates the figure.
        args: Positional arguments of the function.
        kwargs: Keyword arguments of the function.
    """
    with mpl.rc_context(SETTINGS):
        drawn, buffer = figure(*args, **kwargs), io.BytesIO()
        drawn.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})  # no version
    width, height = (round(inches * CSS_PIXELS) for inches in drawn.get_size_inches())
    return Picture(buffer.getvalue(), width, height, text)
