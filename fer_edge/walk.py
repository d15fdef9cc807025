"""Image files below a folder, and what was left out of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import ImageError

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that a walk did not take."""

    path: Path
    reason: str  # "hidden folder", "broken link", ...: equal for all that were left out for the same reason


@dataclass(frozen=True)
class ImageListing:
    """Image files below a folder, sorted by path, and everything else that a reader of the result must know."""

    paths: tuple[Path, ...]
    left_out: tuple[LeftOut, ...] = ()

    def summary(self) -> list[str]:
        """One line per reason: number of entries, reason, first entry as an example; empty if all was taken."""
        reasons = dict.fromkeys(entry.reason for entry in self.left_out)
        lines = []
        for reason in reasons:
            entries = [entry.path for entry in self.left_out if entry.reason == reason]
            lines.append(f"left out {len(entries)}: {reason}, such as {entries[0]}")
        return lines


def find_images(path: Path) -> ImageListing:
    """List a file as it is, or every image below a folder.

    Raises:
        ImageError: The path does not exist, cannot be read, or is a folder without images.
    """
    try:
        if path.is_file():
            return ImageListing((path,))
        if not path.is_dir():
            raise ImageError(f"no file or folder at {path}")
        os.scandir(path).close()  # rglob skips an unreadable folder silently
        paths = sorted(entry for entry in path.rglob("*") if entry.suffix.lower() in SUFFIXES and entry.is_file())
    except OSError as error:
        raise ImageError(f"cannot read {error.filename or path}: {error.strerror}") from error
    if not paths:
        raise ImageError(f"no images below {path}; looked for {', '.join(sorted(SUFFIXES))}")
    return ImageListing(tuple(paths))
