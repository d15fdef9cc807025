"""List files of the FER-former authors: `path label-name class-index`, one image per line. Imports no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fer_edge.choices import Split
from fer_edge.data.folders import SPLIT_FOLDERS, check_distinct, label_set_of
from fer_edge.data.splits import LabelledSplit, Layout
from fer_edge.errors import DataError
from fer_edge.labels import comparable, match_labels


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


def list_file(root: Path, split: Split) -> Path | None:
    """Return `root` if it is a file, else the split's list in it (train.txt, valid.txt, ...), or None."""
    if root.is_file():
        return root
    return next((root / f"{name}.txt" for name in SPLIT_FOLDERS[split] if (root / f"{name}.txt").is_file()), None)


def is_list(root: Path) -> bool:
    """Return whether `root` is a list file or a folder with a list of training images."""
    return (root.is_file() and root.suffix.lower() == ".txt") or list_file(root, "train") is not None


def read_list(root: Path, split: Split) -> LabelledSplit:
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
    for number, line in enumerate(_lines(table), start=1):
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
    return LabelledSplit(f"{table.name}", label_set, tuple(paths), labels)


def _lines(table: Path) -> list[str]:
    """Split a text at line ends only; `str.splitlines` also splits at characters that file names may contain."""
    return read_text_file(table).replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _strip_quotes(path: str) -> str:
    quoted = len(path) > 1 and path[0] == path[-1] and path[0] in "\"'"
    return path[1:-1] if quoted else path


LAYOUT = Layout("list", "a text file with lines `path label-name class-index`", is_list, read_list)
