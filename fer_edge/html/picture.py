"""Pictures drawn by matplotlib, once for light and once for dark screens."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from fer_edge.html.theme import DARK, LIGHT, Theme

DPI = 192
CSS_PIXELS = 96  # to an inch


@dataclass(frozen=True)
class Picture:
    """PNG files of the same figure."""

    light: bytes
    dark: bytes
    width: int  # CSS pixels
    height: int
    text: str  # what it shows, for those who cannot see it


def draw(figure: Callable[[Theme], Figure], text: str) -> Picture:
    """Draw a figure in both themes.

    Args:
        figure: Makes it, in the colours of a theme.
        text: What it shows.
    """
    size, light = _draw(figure, LIGHT)
    _, dark = _draw(figure, DARK)
    return Picture(light, dark, *size, text)


def draw_light(figure: Callable[[Theme], Figure]) -> bytes:
    """A PNG file of the figure for light screens."""
    return _draw(figure, LIGHT)[1]


def _draw(figure: Callable[[Theme], Figure], theme: Theme) -> tuple[tuple[int, int], bytes]:
    with mpl.rc_context(_settings(theme)):
        drawn, buffer = figure(theme), io.BytesIO()
        # No date and no version inside: the same figure gives the same bytes.
        drawn.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    width, height = (round(inches * CSS_PIXELS) for inches in drawn.get_size_inches())
    return (width, height), buffer.getvalue()


def _settings(theme: Theme) -> Any:  # matplotlib types it differently from version to version
    return {
        "figure.facecolor": theme.paper,
        "axes.facecolor": theme.paper,
        "savefig.facecolor": theme.paper,
        "text.color": theme.ink,
        "text.parse_math": False,  # a label is text, even with a dollar in it
        "axes.labelcolor": theme.ink,
        "axes.edgecolor": theme.line,
        "axes.grid": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": theme.line,
        "xtick.color": theme.faint,
        "ytick.color": theme.faint,
        "xtick.labelcolor": theme.ink,
        "ytick.labelcolor": theme.ink,
        "legend.frameon": False,
        "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
        "font.size": 10,
    }
