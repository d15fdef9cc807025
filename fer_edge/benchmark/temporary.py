"""A folder for what processes of a benchmark hand to each other."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer_edge.errors import FerEdgeError


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder that goes with the block.

    Raises:
        FerEdgeError: There is nowhere to make it.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="fer-edge-bench-")
    except OSError as error:
        raise FerEdgeError(
            f"no temporary folder can be made: {error.strerror or error}; set TMPDIR to a folder that can be written"
        ) from error
    with folder as name:
        yield Path(name)
