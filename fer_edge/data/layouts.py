"""Registry of the data set layouts, and their detection. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from fer_edge.choices import Split
from fer_edge.data import ferplus, folders, lists, rafdb
from fer_edge.data.splits import LabelledSplit, Layout
from fer_edge.errors import ConfigError, DataError
from fer_edge.walk import list_folders

AUTO = "auto"
# In order of detection: SFEW's folders also match the layout "folders".
LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (ferplus.LAYOUT, rafdb.LAYOUT, rafdb.ORIGINAL, lists.LAYOUT, folders.SFEW_LAYOUT, folders.LAYOUT)
}


def find_layout(root: Path) -> Layout | None:
    """Detect the layout of a folder or list file; None if no layout matches.

    Raises:
        ImageError: Unreadable folder.
        DataError: Several folders for one split.
    """
    if root.is_dir():
        list_folders(root)  # raises for an unreadable folder, whose layout cannot be detected
    return next((layout for layout in LAYOUTS.values() if layout.matches(root)), None)


def read_split(root: Path, split: Split, layout: str = AUTO) -> LabelledSplit:
    """Read one split of a data set.

    Args:
        root: Folder of the data set, or a list file.
        split: "train", "valid" or "test".
        layout: Name in `LAYOUTS`, or "auto" to detect it.

    Raises:
        ConfigError: Unknown layout.
        DataError: Another layout, or a missing or invalid file.
    """
    if layout != AUTO and layout not in LAYOUTS:
        raise ConfigError(f"no layout {layout!r}; expected {AUTO} or one of: {', '.join(LAYOUTS)}")
    if not root.exists():
        raise DataError(f"no file or folder at {root}")
    reader = find_layout(root) if layout == AUTO else LAYOUTS[layout]
    if reader is None:
        expected = "; ".join(f"{entry.name}: {entry.description}" for entry in LAYOUTS.values())
        raise DataError(f"{root} has none of the supported data set layouts. Expected one of: {expected}")
    return reader.read(root, split)
