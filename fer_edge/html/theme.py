"""Colours of pages and pictures. Pictures are white cards, so that one drawing suits light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence

PAPER = "#ffffff"  # background
INK = "#1b1f24"  # text
FAINT = "#5b6470"  # secondary text
LINE = "#d9dee4"  # rules and grids
ACCENT = "#0072b2"
# Okabe and Ito's colour-blind-safe palette, with a darker yellow.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#1b1f24", "#c9b400")
# Colours of expressions, the same in annotated copies, pages and the live page (`live/page/colours.js`).
EXPRESSIONS = {
    "neutral": "#7d8896",
    "happiness": "#e0a800",
    "surprise": "#ee7b1a",
    "sadness": "#3d7dd0",
    "anger": "#d53b3b",
    "disgust": "#5f9a36",
    "fear": "#8658c6",
    "contempt": "#c1528d",
}
UNSURE = "#c9d0d8"


def colors_of(labels: Sequence[str]) -> dict[str, str]:
    """Return the colour of each label; labels other than expressions get free colours of series."""
    fixed = {label: EXPRESSIONS[label] for label in labels if label in EXPRESSIONS}
    free = [color for color in SERIES if color not in fixed.values()]
    others = [label for label in labels if label not in fixed]
    return fixed | {label: free[index % len(free)] for index, label in enumerate(others)}
