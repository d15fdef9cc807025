"""Rows of result documents: one for each person and frame, as CSV and Parquet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
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
    x, y, width, height = face["box"]
    return {
        "frame": document["frame"],
        "time": document["time"],
        "person": person["id"],
        "x": x,
        "y": y,
        "width": width,
        "height": height,
        "detection_score": face["score"],
        "tilt": face["tilt"],
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
    arrow, parquet = (require(module, extra, "Parquet") for module in ("pyarrow", "pyarrow.parquet"))
    types = {"frame": arrow.int64(), "person": arrow.int32(), "label": arrow.string()}
    types |= {"time": arrow.float64(), "certain": arrow.bool_(), "fresh": arrow.bool_()}
    schema = arrow.schema([(name, types.get(name, arrow.float32())) for name in columns(labels)])
    waiting: list[Row] = []

    def flush() -> None:
        if waiting:
            file.write_table(arrow.Table.from_pylist(waiting, schema=schema))
            waiting.clear()

    def write(rows: Sequence[Row]) -> None:
        waiting.extend(rows)
        if len(waiting) >= ROW_GROUP:
            flush()

    with parquet.ParquetWriter(path, schema) as file:
        yield write
        flush()
