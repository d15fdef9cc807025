"""Numbers that make sense, for the callbacks of options."""

from __future__ import annotations

import math

import typer


def not_negative(value: float | None) -> float | None:
    """Refuse NaN, infinity and numbers below 0, whatever the version of typer makes of NaN.

    Raises:
        BadParameter: The value is one of them.
    """
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise typer.BadParameter(f"{value:g} is not a finite number from 0")
    return value
