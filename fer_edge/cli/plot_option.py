"""The suffix of a picture, checked before the work that it shows."""

from __future__ import annotations

from pathlib import Path

import typer

PLOT_SUFFIXES = (".svg", ".png", ".pdf")


def check_plot(path: Path | None) -> Path | None:
    """For the callback of an option that names a picture to write.

    Raises:
        typer.BadParameter: Its suffix names no format that is written.
    """
    if path is not None and path.suffix not in PLOT_SUFFIXES:
        given = f"has the suffix {path.suffix!r}" if path.suffix else "has no suffix"
        raise typer.BadParameter(f"{path} {given}; expected one of: {', '.join(PLOT_SUFFIXES)}")
    return path
