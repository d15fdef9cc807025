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
# Colour of an expression, the same in annotated copies and pages.
EXPRESSIONS = {
    "neutral": "#8b95a1",
    "happiness": "#e69f00",
    "surprise": "#cc79a7",
    "sadness": "#0072b2",
    "anger": "#d55e00",
    "disgust": "#009e73",
    "fear": "#56b4e9",
    "contempt": "#7a5195",
}
UNSURE = "#c9d0d8"  # of a face whose expression is uncertain


def colors_of(labels: Sequence[str]) -> dict[str, str]:
    """Return the colour of each label; labels other than expressions get the colours of series in their order."""
    others = [label for label in labels if label not in EXPRESSIONS]
    return {
        label: EXPRESSIONS.get(label) or SERIES[others.index(label) % len(SERIES)] for label in labels
    }
