"""Matplotlib figures rendered in a light and a dark theme."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from fer_edge.html.theme import DARK, LIGHT, Theme

DPI = 192
CSS_PIXELS = 96  # per inch


@dataclass(frozen=True)
class Picture:
    """A figure as PNG files in both themes."""

    light: bytes
    dark: bytes
    width: int  # CSS pixels
    height: int
    text: str  # alternative text


def draw(figure: Callable[[Theme], Figure], text: str) -> Picture:
    """Draw a figure in both themes.

    Args:
        figure: Function that creates the figure in the colours of a theme.
        text: Alternative text.
    """
    size, light = _draw(figure, LIGHT)
    _, dark = _draw(figure, DARK)
    return Picture(light, dark, *size, text)


def draw_light(figure: Callable[[Theme], Figure]) -> bytes:
    """Return a PNG file of the figure in the light theme."""
    return _draw(figure, LIGHT)[1]


def _draw(figure: Callable[[Theme], Figure], theme: Theme) -> tuple[tuple[int, int], bytes]:
    with mpl.rc_context(_settings(theme)):
        drawn, buffer = figure(theme), io.BytesIO()
        # Without date and version, equal figures give equal bytes.
        drawn.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    width, height = (round(inches * CSS_PIXELS) for inches in drawn.get_size_inches())
    return (width, height), buffer.getvalue()


def _settings(theme: Theme) -> Any:  # its type differs between versions of matplotlib
    return {
        "figure.facecolor": theme.paper,
        "axes.facecolor": theme.paper,
        "savefig.facecolor": theme.paper,
        "text.color": theme.ink,
        "text.parse_math": False,  # labels may contain a dollar sign
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
        "font.family": "DejaVu Sans",  # ships with matplotlib, so figures are equal on every machine
        "font.size": 10,
    }
