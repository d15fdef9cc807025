"""Images in a column of a Parquet file: bytes, or paths of files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fer_edge._require import require
from fer_edge._text import did_you_mean, one_line
from fer_edge.errors import ConfigError, shown
from fer_edge.score.items import Item

EXTRA, BATCH = "score", 16  # rows that are decoded at once
BYTES, PATHS = "bytes", "paths"


def list_rows(path: Path, column: str | None, root: Path | None) -> Iterator[Item]:
    """Yield the images of a Parquet file: its rows as one item for a column of bytes, one item each for paths.

    Args:
        path: Absolute path of the file.
        column: Name of the column; None: the only column of bytes, else the only one of texts.
        root: Folder that paths are relative to and have to stay below; None: the folder of the file.

    Raises:
        ConfigError: Column that is missing or has another type, or several that may have images.
    """
    arrow, parquet = (require(name, EXTRA, "reading Parquet") for name in ("pyarrow", "pyarrow.parquet"))
    try:
        with parquet.ParquetFile(path) as file:
            name, content = _choose(file.schema_arrow, path, column)
            if content == BYTES:
                if file.metadata.num_rows:
                    yield Item("rows", str(path), name, 0, file.metadata.num_rows)
                return
            yield from _files(file, path, name, os.path.realpath(root or path.parent))
    except (arrow.ArrowException, OSError, ValueError) as error:  # ValueError: text that is not UTF-8
        yield Item("damaged", str(path), error=f"cannot read {path}: {one_line(str(error))}")


def _choose(schema: Any, path: Path, column: str | None) -> tuple[str, str]:
    """Return the name of the column with images, and its content."""
    contents = {field.name: _content(field.type) for field in schema}
    if column is not None:
        if column not in contents:
            near = did_you_mean(column, schema.names)
            raise ConfigError(f"{path} has no column {shown(column)}; it has: {', '.join(schema.names)}{near}")
        if not contents[column]:
            kind = schema.field(column).type
            raise ConfigError(f"column {column} of {path} is of type {kind}; expected images as bytes, or paths")
        return column, contents[column]
    for content in (BYTES, PATHS):
        names = [name for name, kind in contents.items() if kind == content]
        if len(names) == 1:
            return names[0], content
        if names:
            raise ConfigError(f"{path} has several columns of {content}: {', '.join(names)}; choose one with --column")
    raise ConfigError(f"{path} has no column of images; expected bytes or paths, and has: {', '.join(schema.names)}")


def _content(kind: Any) -> str:
    """Return the content of a column by its type; empty for one without images."""
    text = str(kind)
    if text in ("binary", "large_binary", "binary_view"):
        return BYTES
    if text.startswith("struct<") and any(
        field.name == "bytes" and _content(field.type) == BYTES for field in kind.fields
    ):  # images of Hugging Face's `datasets`
        return BYTES
    return PATHS if text in ("string", "large_string", "string_view") else ""


def _files(file: Any, path: Path, name: str, root: str) -> Iterator[Item]:
    row = 0
    for batch in file.iter_batches(columns=[name]):
        for text in batch.column(0).to_pylist():
            if text is None or "\0" in text or not text.strip():
                yield Item("damaged", str(path), f"{row}", error=f"row {row} of {path} has no path")
            else:
                image = os.path.realpath(os.path.join(root, text))  # noqa: PTH118  may be absolute
                if image.startswith(root.rstrip(os.sep) + os.sep):
                    yield Item("image", image)
                else:
                    error = f"{shown(text)} is outside of {root}; name the folder of the images with --root"
                    yield Item("damaged", str(path), f"{row}", error=error)
            row += 1


def read_rows(item: Item) -> Iterator[tuple[int, bytes | None]]:
    """Yield the number and the bytes of each row of an item; None for a row without an image.

    Args:
        item: Item of the kind "rows".

    Raises:
        OSError: File that cannot be read or is damaged.
    """
    arrow, parquet = (require(name, EXTRA, "reading Parquet") for name in ("pyarrow", "pyarrow.parquet"))
    end = item.offset + item.size
    try:
        with parquet.ParquetFile(item.source) as file:
            start, groups = 0, []
            first = None
            for group in range(file.metadata.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if start < end and start + rows > item.offset:
                    first = start if first is None else first
                    groups.append(group)
                start += rows
            row = first or 0
            for batch in file.iter_batches(BATCH, row_groups=groups, columns=[item.name]):
                if row >= end:
                    return
                if row + len(batch) > item.offset:
                    for place in range(max(item.offset - row, 0), min(end - row, len(batch))):
                        value = batch.column(0)[place].as_py()
                        yield row + place, value.get("bytes") if isinstance(value, dict) else value
                row += len(batch)
    except arrow.ArrowException as error:
        raise OSError(f"{item.source} is damaged: {one_line(str(error))}") from error
