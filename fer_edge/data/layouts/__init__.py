"""Layouts of data sets: one module each, found by its `Layout` objects. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from fer_edge.choices import Split
from fer_edge.data.images import ImageSet
from fer_edge.errors import ConfigError, DataError
from fer_edge.walk import list_folders

AUTO = "auto"


@dataclass(frozen=True)
class Layout:
    """Arrangement of a data set's files: detection and reading."""

    name: str
    description: str  # expected files and folders, for error messages
    matches: Callable[[Path], bool]
    read: Callable[[Path, Split], ImageSet]
    rank: int = 0  # order of detection: layouts whose files can also belong to another layout come later


@cache
def layouts() -> dict[str, Layout]:
    """Return the layouts of all modules of this package by name, in the order of detection."""
    modules = [import_module(f"{__name__}.{entry.name}") for entry in iter_modules(__path__)]
    entries = [value for module in modules for value in vars(module).values() if isinstance(value, Layout)]
    return {layout.name: layout for layout in sorted(entries, key=lambda layout: layout.rank)}


def find_layout(root: Path) -> Layout | None:
    """Detect the layout of a folder or list file; None if no layout matches.

    Raises:
        ImageError: Unreadable folder.
        DataError: Several folders for one split.
    """
    if root.is_dir():
        list_folders(root)  # raises for an unreadable folder, whose layout cannot be detected
    return next((layout for layout in layouts().values() if layout.matches(root)), None)


def read_split(root: Path, split: Split, layout: str = AUTO) -> ImageSet:
    """Read one split of a data set.

    Args:
        root: Folder of the data set, or a list file.
        split: "train", "valid" or "test".
        layout: Name of a layout, or "auto" to detect it.

    Raises:
        ConfigError: Unknown layout.
        DataError: Another layout, or a missing or invalid file.
    """
    if layout != AUTO and layout not in layouts():
        raise ConfigError(f"no layout {layout!r}; expected {AUTO} or one of: {', '.join(layouts())}")
    if not root.exists():
        raise DataError(f"no file or folder at {root}")
    reader = find_layout(root) if layout == AUTO else layouts()[layout]
    if reader is None:
        expected = "; ".join(f"{entry.name}: {entry.description}" for entry in layouts().values())
        raise DataError(f"{root} has none of the supported data set layouts. Expected one of: {expected}")
    return reader.read(root, split)


def read_text_file(path: Path) -> str:
    """Return the text of a data set's file, without a byte order mark.

    Raises:
        DataError: Unreadable file, or text that is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}; save it as UTF-8, or name another file") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; make it readable, or name another file") from error
