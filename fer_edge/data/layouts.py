"""Every layout that fer-edge reads, and which one a folder has. Needs no torch."""

from __future__ import annotations

from pathlib import Path

from fer_edge.data import ferplus, folders, lists, rafdb
from fer_edge.data.splits import LabelledSplit, Layout, Split
from fer_edge.errors import ConfigError, DataError
from fer_edge.walk import list_folders

AUTO = "auto"
# In this order: SFEW's folders are class folders too.
LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (ferplus.LAYOUT, rafdb.LAYOUT, rafdb.ORIGINAL, lists.LAYOUT, folders.SFEW_LAYOUT, folders.LAYOUT)
}


def find_layout(root: Path) -> Layout | None:
    """The layout of a folder or list, if it is one of ours.

    Raises:
        ImageError: The folder cannot be read.
        DataError: It has several folders for one split.
    """
    if root.is_dir():
        list_folders(root)  # of an unreadable folder, no layout could be told
    return next((layout for layout in LAYOUTS.values() if layout.matches(root)), None)


def read_split(root: Path, split: Split, layout: str = AUTO) -> LabelledSplit:
    """Read one split of a data set.

    Args:
        root: Its folder, or a list file.
        split: train, valid or test.
        layout: One of `LAYOUTS`, or "auto" to find out.

    Raises:
        ConfigError: There is no such layout.
        DataError: The folder is laid out otherwise, or something in it is missing or wrong.
    """
    if layout != AUTO and layout not in LAYOUTS:
        raise ConfigError(f"no layout {layout!r}; expected {AUTO} or one of: {', '.join(LAYOUTS)}")
    if not root.exists():
        raise DataError(f"no file or folder at {root}")
    found = find_layout(root) if layout == AUTO else LAYOUTS[layout]
    if found is None:
        known = "; ".join(f"{one.name}: {one.expects}" for one in LAYOUTS.values())
        raise DataError(f"{root} is no data set that fer-edge knows. Expected one of: {known}")
    return found.read(root, split)
