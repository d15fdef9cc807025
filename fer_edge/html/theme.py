"""Colours of pages and pictures. Pictures are white cards, so that one drawing suits light and dark pages."""

from __future__ import annotations

PAPER = "#ffffff"  # background
INK = "#1b1f24"  # text
FAINT = "#5b6470"  # secondary text
LINE = "#d9dee4"  # rules and grids
ACCENT = "#0072b2"
# Okabe and Ito's colour-blind-safe palette, with a darker yellow.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#1b1f24", "#c9b400")
