"""Temporary folder for the files that a benchmark passes to its processes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer_edge.errors import FerEdgeError


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create a folder that is removed at the end of the block.

    Raises:
        FerEdgeError: No folder can be created.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="fer-edge-bench-")
    except OSError as error:
        raise FerEdgeError(
            f"cannot create a temporary folder: {error.strerror or error}; set TMPDIR to a writable folder"
        ) from error
    with folder as name:
        yield Path(name)
