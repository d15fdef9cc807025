"""Reproducible picture files: equal figures give equal bytes."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATE = {".svg": "Date", ".pdf": "CreationDate"}  # metadata field with the time of writing, by format


def picture_file(figure: Figure, suffix: str) -> bytes:
    """Return the content of a picture file.

    Args:
        figure: Figure to draw.
        suffix: Format: `.svg`, `.png` or `.pdf`.

    Raises:
        ValueError: A format that Matplotlib does not support.
    """
    from matplotlib import rc_context

    metadata = {DATE[suffix]: None} if suffix in DATE else None
    buffer = BytesIO()
    with rc_context({"svg.hashsalt": "fer-edge"}):  # without the salt, ids inside an SVG file are random
        figure.savefig(buffer, format=suffix.lstrip(".") or "png", metadata=metadata)
    return buffer.getvalue()
