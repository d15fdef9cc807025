"""Colours of pages and figures, for a light and a dark theme."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Theme:
    """A set of colours."""

    paper: str  # background
    ink: str  # text
    faint: str  # secondary text
    line: str  # rules and grids
    accent: str
    series: tuple[str, ...]  # Okabe and Ito's colour-blind-safe palette, adapted to the background


_SHARED = ("#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
LIGHT = Theme("#ffffff", "#1b1f24", "#5b6470", "#d9dee4", "#0072b2", ("#0072b2", *_SHARED, "#1b1f24", "#c9b400"))
DARK = Theme("#16191d", "#e6e9ed", "#9aa4b0", "#343a42", "#56b4e9", ("#2f86cf", *_SHARED, "#e6e9ed", "#f0e442"))
