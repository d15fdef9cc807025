"""Images of files, folders, pipes and standard input."""

from __future__ import annotations

import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fer_edge.errors import FerEdgeError, ImageError
from fer_edge.walk import LeftOut, find_images

STDIN = Path("-")


@dataclass(frozen=True)
class ImageItem:
    """Image to read: a file, standard input, or a path with the reason why it cannot be read."""

    path: Path
    error: str = ""
    root: Path | None = None  # folder that the image was listed from


def list_images(paths: Sequence[Path]) -> tuple[list[ImageItem], list[LeftOut]]:
    """List the images of files and folders; a missing path or an empty folder is an item with an error.

    Args:
        paths: Files, folders, pipes, or `-` for standard input.

    Returns:
        Images, and the files in folders that are left out.
    """
    items: list[ImageItem] = []
    left_out: list[LeftOut] = []
    for path in paths:
        if path == STDIN or _is_special(path):
            items.append(ImageItem(path))
            continue
        try:
            listing = find_images(path)
        except FerEdgeError as error:
            items.append(ImageItem(path, str(error)))
            continue
        root = path if listing.paths != (path,) else None
        items += (ImageItem(image, root=root) for image in listing.paths)
        left_out += listing.left_out
    return items, left_out


def _is_special(path: Path) -> bool:
    """Return True for a pipe, socket or device, such as /dev/stdin and <(...): one image that can be read once."""
    with suppress(OSError, ValueError):
        mode = path.stat().st_mode
        return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
    return False


def standard_input() -> BinaryIO:
    """Return standard input as a binary file.

    Raises:
        ImageError: Standard input that is closed or a terminal.
    """
    if sys.stdin is None:
        raise ImageError("standard input is closed; expected an image")
    if sys.stdin.isatty():
        raise ImageError("standard input is a terminal; expected an image: fer-edge predict - < photo.jpg")
    return sys.stdin.buffer
