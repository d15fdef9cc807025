"""Rows of result documents: one for each person and frame, as CSV and Parquet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fer_edge._require import require

ROW_GROUP = 10_000  # rows that are written to Parquet at once
Row = dict[str, Any]
WriteRows = Callable[[Sequence[Row]], None]


def rows_of(document: dict[str, Any]) -> list[Row]:
    """Return a row for each person of a document, by column; the columns are the same in all rows of a model."""
    return [_row(document, person) for person in document["people"]]


def _row(document: dict[str, Any], person: dict[str, Any]) -> Row:
    face, expression = person["face"], person["expression"]
    derived = expression["derived"] or {"valence": None, "arousal": None}
    x, y, width, height = (None,) * 4 if face is None else face["box"]  # None: the image is a face crop
    return {
        "frame": document["frame"],
        "time": document["time"],
        "person": person["id"],
        "x": x,
        "y": y,
        "width": width,
        "height": height,
        "detection_score": None if face is None else face["score"],
        "tilt": None if face is None else face["tilt"],
        **{name: expression[name] for name in ("label", "score", "certain")},
        "fresh": person["fresh"],
        **derived,
        **{f"p_{label}": score for label, score in expression["scores"].items()},
    }


def columns(labels: Sequence[str]) -> list[str]:
    """Return the names of the columns.

    Args:
        labels: Labels of the model.
    """
    fixed = "frame time person x y width height detection_score tilt label score certain fresh valence arousal"
    return [*fixed.split(), *(f"p_{label}" for label in labels)]


@contextmanager
def write_csv(path: Path, labels: Sequence[str]) -> Iterator[WriteRows]:
    """Open a CSV file of rows.

    Args:
        path: File to write.
        labels: Labels of the model.

    Yields:
        Function that appends rows.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(columns(labels))
        yield lambda rows: lines.writerows(row.values() for row in rows)


def column_types(labels: Sequence[str]) -> dict[str, str]:
    """Return Arrow's names of the types by column.

    Args:
        labels: Labels of the model.
    """
    types = {"frame": "int64", "person": "int32", "label": "string", "time": "float64"}
    types |= {"certain": "bool", "fresh": "bool"}
    return {name: types.get(name, "float32") for name in columns(labels)}


@contextmanager
def write_parquet(path: Path, labels: Sequence[str], extra: str) -> Iterator[WriteRows]:
    """Open a Parquet file of rows, which are written in groups.

    Args:
        path: File to write.
        labels: Labels of the model.
        extra: Extra of fer-edge that installs pyarrow.

    Yields:
        Function that appends rows.

    Raises:
        EngineUnavailableError: pyarrow is not installed.
    """
    with write_table(path, column_types(labels), extra) as table:
        yield table.write


@contextmanager
def write_table(path: Path, types: Mapping[str, str], extra: str) -> Iterator[ParquetTable]:
    """Open a Parquet file with columns of the caller.

    Args:
        path: File to write.
        types: Arrow's name of the type by column.
        extra: Extra of fer-edge that installs pyarrow.

    Yields:
        The table; what it holds is written at the end of the block.

    Raises:
        EngineUnavailableError: pyarrow is not installed.
    """
    arrow, parquet = (require(module, extra, "Parquet") for module in ("pyarrow", "pyarrow.parquet"))
    schema = arrow.schema([(name, arrow.type_for_alias(kind)) for name, kind in types.items()])
    with parquet.ParquetWriter(path, schema) as file:
        table = ParquetTable(file, lambda rows: arrow.Table.from_pylist(rows, schema=schema))
        yield table
        table.flush()


class ParquetTable:
    """Parquet file that is open for writing.

    Args:
        file: Writer of pyarrow.
        convert: Function that makes a table of pyarrow from rows.
    """

    def __init__(self, file: Any, convert: Callable[[list[Row]], Any]) -> None:
        self._file, self._convert = file, convert
        self._waiting: list[Row] = []

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        self._waiting.extend(rows)
        if len(self._waiting) >= ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait as a row group."""
        if self._waiting:
            self._file.write_table(self._convert(self._waiting))
            self._waiting.clear()

    def add_metadata(self, entries: Mapping[str, str]) -> None:
        """Add entries to the metadata of the file."""
        self._file.add_key_value_metadata(entries)
