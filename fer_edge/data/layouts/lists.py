"""List files of the FER-former authors: `path label-name class-index`, one image per line."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fer_edge.choices import Split
from fer_edge.data.images import ImageSet
from fer_edge.data.layouts import Layout, read_text_file
from fer_edge.data.layouts.folders import SPLIT_FOLDERS, check_distinct, label_set_of
from fer_edge.errors import DataError
from fer_edge.labels import comparable, match_labels


def list_file(root: Path, split: Split) -> Path | None:
    """Return `root` if it is a file, else the split's list in it (train.txt, valid.txt, ...), or None."""
    if root.is_file():
        return root
    return next((root / f"{name}.txt" for name in SPLIT_FOLDERS[split] if (root / f"{name}.txt").is_file()), None)


def is_list(root: Path) -> bool:
    """Return whether `root` is a list file or a folder with a list of training images."""
    return (root.is_file() and root.suffix.lower() == ".txt") or list_file(root, "train") is not None


def read_list(root: Path, split: Split) -> ImageSet:
    """Read a list file. The name gives the label; each index has to belong to one name.

    Paths are absolute, or relative to the list's folder.

    Raises:
        DataError: Missing or unreadable list, invalid line, or an index with two names.
    """
    table = list_file(root, split)
    if table is None:
        raise DataError(f"no list for the split {split} in {root}; expected {SPLIT_FOLDERS[split][0]}.txt")
    paths: list[Path] = []
    names: list[str] = []
    name_of_index: dict[str, str] = {}
    # Split at line ends only; `str.splitlines` also splits at characters that file names may contain.
    lines = read_text_file(table).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        parts = line.rsplit(maxsplit=2)
        if len(parts) != 3 or not parts[2].isdecimal():
            raise DataError(f"{table}, line {number}: expected `path label-name class-index`")
        path, name, index = parts
        if comparable(name_of_index.setdefault(index, name)) != comparable(name):
            raise DataError(f"{table}, line {number}: index {index} is {name} here and {name_of_index[index]} before")
        paths.append(table.parent / _strip_quotes(path.strip()))
        names.append(name)
    if not paths:
        raise DataError(f"{table} lists no image")
    if split == "train":
        check_distinct(sorted(set(names)))
    label_set = label_set_of(sorted(set(names)))
    labels = np.array(match_labels(names, label_set.labels), np.int64)
    return ImageSet(tuple(paths), labels, source=table.name, label_set=label_set)


def _strip_quotes(path: str) -> str:
    quoted = len(path) > 1 and path[0] == path[-1] and path[0] in "\"'"
    return path[1:-1] if quoted else path


LAYOUT = Layout("list", "a text file with lines `path label-name class-index`", is_list, read_list, rank=1)
