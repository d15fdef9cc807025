"""Listing of sources: images and videos in folders and lists, columns of Parquet files, members of tar archives."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import ConfigError, ImageError, shown
from fer_edge.score.columns import list_rows
from fer_edge.score.items import Item
from fer_edge.score.tars import list_members
from fer_edge.walk import VIDEO_SUFFIXES, LeftOut, walk_folder

LISTS = (".txt", ".lst")
MAX_LINE = 4096  # characters of a path in a list


@dataclass(frozen=True)
class Listing:
    """Items of all sources in their order, and what folders contain beside them."""

    items: list[Item]
    left_out: tuple[LeftOut, ...]


def list_sources(sources: Sequence[Path], out: Path, column: str | None, root: Path | None) -> Listing:
    """List the items of sources; a file that several sources contain is listed once.

    Args:
        sources: Folders, images, videos, tar archives, Parquet files, and lists with a path on each line.
        out: Folder of the results, which is not listed.
        column: Column of the Parquet files; None: the only one that fits.
        root: Folder of the paths in Parquet files; None: the folder of each file.

    Raises:
        ConfigError: Source that does not exist, sources without any image, or unclear column.
        ImageError: Folder or list that cannot be read.
    """
    results = os.path.realpath(out)
    lister = _Lister(results, column, root)
    for source in sources:
        if not source.exists():
            raise ConfigError(f"no file or folder at {source}; expected images, videos, archives, tables or lists")
        lister.add(source)
    if not lister.items:
        raise ConfigError(f"no images or videos in {', '.join(map(str, sources))}; name other sources")
    return Listing([_with_plain_names(item) for item in lister.items], tuple(lister.left_out))


def _with_plain_names(item: Item) -> Item:
    """Return an item whose names are UTF-8, as Parquet requires; a file with another name cannot be opened by it."""
    if item.source.isascii() and item.name.isascii() and item.error.isascii():
        return item
    source, name, error = (text.encode("utf-8", "replace").decode() for text in (item.source, item.name, item.error))
    if source != item.source:
        return Item("damaged", source, name, error=error or "the name of the file is not UTF-8; rename it")
    return item._replace(name=name, error=error)


class _Lister:
    """Collection of items.

    Args:
        results: Real path of the folder of the results.
        column: Column of the Parquet files; None: the only one that fits.
        root: Folder of the paths in Parquet files; None: the folder of each file.
    """

    def __init__(self, results: str, column: str | None, root: Path | None) -> None:
        self.items: dict[Item, None] = {}
        self.left_out: list[LeftOut] = []
        self._results, self._column, self._root = results, column, root
        self._lists: set[str] = set()

    def add(self, source: Path) -> None:
        """Add a folder or file."""
        # Not resolved: a link keeps its name, and workers may run in another folder.
        source = Path(os.path.abspath(source))  # noqa: PTH100  Path.absolute keeps ".."
        if source.is_dir():
            self._add_folder(source)
        elif source.suffix.lower() in LISTS:
            self._add_list(source)
        else:
            self._add_file(source)

    def _add_folder(self, folder: Path) -> None:
        listing = walk_folder(folder)
        others = [entry for entry in listing.left_out if _is_container(entry.path) and entry.path.is_file()]
        for path in sorted([*listing.paths, *(entry.path for entry in others)], key=lambda path: path.parts):
            if not self._is_result(path):
                self._add_file(path)
        containers = {entry.path for entry in others}
        self.left_out += [entry for entry in listing.left_out if entry.path not in containers]

    def _is_result(self, path: Path) -> bool:
        return path.suffix == ".parquet" and os.path.realpath(path.parent) == self._results

    def _add_list(self, path: Path) -> None:
        real = os.path.realpath(path)
        if real in self._lists:
            return
        self._lists.add(real)
        for line in _lines(path):
            entry = Path(os.path.abspath(path.parent / line))  # noqa: PTH100
            if entry.is_dir() or entry.suffix.lower() in LISTS:
                error = f"{entry} is a folder or list; expected files in {path}"
                self.items[Item("damaged", str(entry), error=error)] = None
            else:
                self._add_file(entry)

    def _add_file(self, path: Path) -> None:
        suffix = path.suffix.lower()
        if suffix == ".tar":
            self.items.update(dict.fromkeys(list_members(path)))
        elif suffix == ".parquet":
            self.items.update(dict.fromkeys(list_rows(path, self._column, self._root)))
        elif suffix in VIDEO_SUFFIXES:
            self.items[_video(path)] = None
        else:
            self.items[Item("image", str(path))] = None


def _is_container(path: Path) -> bool:
    return path.suffix.lower() in (".tar", ".parquet", *VIDEO_SUFFIXES) and not path.name.startswith(".")


def _video(path: Path) -> Item:
    try:
        status = path.stat()
    except OSError as error:
        return Item("damaged", str(path), error=f"cannot read {path}: {error.strerror}")
    if not stat.S_ISREG(status.st_mode):
        return Item("damaged", str(path), error=f"{path} is not a regular file")
    return Item("video", str(path), size=status.st_size)


def _lines(path: Path) -> Iterator[str]:
    """Yield the paths of a list; only line ends separate them, since names may contain other characters."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            number = 0
            while line := file.readline(MAX_LINE + 2):
                number += 1
                text = line.rstrip("\r\n")
                if len(text) > MAX_LINE or "\0" in text:
                    raise ImageError(f"{path}, line {number}: {shown(text)}; expected a path of at most {MAX_LINE}")
                if text.strip():
                    yield text
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from error
