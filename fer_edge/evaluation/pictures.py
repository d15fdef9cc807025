"""Writing a figure, so that equal figures give equal files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fer_edge._files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATE = {".svg": "Date", ".pdf": "CreationDate"}  # what holds the time of writing, by format


def save_plot(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all.

    Args:
        figure: What to draw.
        path: `.svg`, `.png` or `.pdf`.

    Raises:
        ValueError: Matplotlib knows no format of that suffix.
    """
    from matplotlib import rc_context

    metadata = {DATE[path.suffix]: None} if path.suffix in DATE else None
    # Without the salt, names inside an SVG are drawn at random.
    with rc_context({"svg.hashsalt": "fer-edge"}), atomic_path(path) as temporary, temporary.open("wb") as file:
        figure.savefig(file, format=path.suffix.lstrip(".") or "png", metadata=metadata)
