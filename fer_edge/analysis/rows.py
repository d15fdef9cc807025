"""Rows of an analysis: one for each person and frame, as CSV and Parquet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_edge._files import atomic_path
from fer_edge._require import require

if TYPE_CHECKING:
    from fer_edge.faces.tracker import TrackedFace

ROW_GROUP = 10_000  # rows that are written to Parquet at once
Row = dict[str, Any]


def row_of(frame: int, time: float, tracked: TrackedFace) -> Row:
    """Return the row of a person in a frame, by column; the columns are the same in all rows of a model.

    Args:
        frame: Number of the frame, counted from 0.
        time: Time of the frame in seconds.
        tracked: Face of the person.
    """
    face, expression = tracked.face, tracked.expression
    x, y, width, height = face.box
    return {
        "frame": frame,
        "time": round(time, 3),
        "person": tracked.track_id,
        "x": round(x, 1),
        "y": round(y, 1),
        "width": round(width, 1),
        "height": round(height, 1),
        "detection_score": round(face.score, 4),
        "tilt": round(face.tilt, 1),
        "label": expression.label,
        "score": round(expression.score, 4),
        "certain": expression.certain,
        "fresh": tracked.fresh,
        **{f"p_{label}": round(score, 4) for label, score in expression.scores.items()},
    }


@contextmanager
def write_rows(csv_path: Path, parquet_path: Path | None, labels: Sequence[str]) -> Iterator[Callable[[Row], None]]:
    """Open files of rows, which appear under their names when the context ends without an error.

    Args:
        csv_path: CSV file.
        parquet_path: Parquet file; None for none.
        labels: Labels of the model.

    Yields:
        Function that appends a row.

    Raises:
        EngineUnavailableError: pyarrow is not installed, and there is a Parquet file.
        FerEdgeError: File that cannot be written; nothing was changed.
    """
    with ExitStack() as stack:
        file = stack.enter_context(stack.enter_context(atomic_path(csv_path)).open("w", newline="", encoding="utf-8"))
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(columns(labels))
        parquet = None
        if parquet_path is not None:
            parquet = stack.enter_context(_ParquetFile(stack.enter_context(atomic_path(parquet_path)), labels))

        def write(row: Row) -> None:
            lines.writerow(row.values())
            if parquet is not None:
                parquet.write(row)

        yield write


def columns(labels: Sequence[str]) -> list[str]:
    """Return the names of the columns."""
    fixed = "frame time person x y width height detection_score tilt label score certain fresh"
    return [*fixed.split(), *(f"p_{label}" for label in labels)]


class _ParquetFile:
    """Parquet file that is written in groups of rows."""

    def __init__(self, path: Path, labels: Sequence[str]) -> None:
        self._arrow = require("pyarrow", "analyse", "Parquet")
        parquet = require("pyarrow.parquet", "analyse", "Parquet")
        types = {"frame": self._arrow.int64(), "person": self._arrow.int32(), "label": self._arrow.string()}
        types |= {"time": self._arrow.float64(), "certain": self._arrow.bool_(), "fresh": self._arrow.bool_()}
        self._schema = self._arrow.schema([(name, types.get(name, self._arrow.float32())) for name in columns(labels)])
        self._writer = parquet.ParquetWriter(path, self._schema)
        self._rows: list[Row] = []

    def write(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
            self._rows.clear()

    def __enter__(self) -> _ParquetFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._writer.close()
