"""The suffix of a picture, checked before the work that it shows."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import typer

PLOT_SUFFIXES = (".svg", ".png", ".pdf")


def check_plot(path: Path | None) -> Path | None:
    """For the callback of an option that names a picture to write.

    Raises:
        typer.BadParameter: Its suffix names no format that is written.
        EngineUnavailableError: Matplotlib is not installed.
    """
    if path is not None and path.suffix not in PLOT_SUFFIXES:
        given = f"has the suffix {path.suffix!r}" if path.suffix else "has no suffix"
        raise typer.BadParameter(f"{path} {given}; expected one of: {', '.join(PLOT_SUFFIXES)}")
    if path is not None and find_spec("matplotlib") is None:
        from fer_edge.errors import EngineUnavailableError

        raise EngineUnavailableError('plots need Matplotlib; run: pip install "fer-edge[report]"')
    return path
