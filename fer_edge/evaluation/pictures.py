"""Reproducible picture files: equal figures give equal bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fer_edge._files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATE = {".svg": "Date", ".pdf": "CreationDate"}  # metadata field with the time of writing, by format


def save_plot(figure: Figure, path: Path) -> None:
    """Write a figure atomically.

    Args:
        figure: Figure to write.
        path: File to write: `.svg`, `.png` or `.pdf`.

    Raises:
        ValueError: A suffix that Matplotlib does not support.
    """
    from matplotlib import rc_context

    metadata = {DATE[path.suffix]: None} if path.suffix in DATE else None
    # Without the salt, ids inside an SVG file are random.
    with rc_context({"svg.hashsalt": "fer-edge"}), atomic_path(path) as temporary, temporary.open("wb") as file:
        figure.savefig(file, format=path.suffix.lstrip(".") or "png", metadata=metadata)
