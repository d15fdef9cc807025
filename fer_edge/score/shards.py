"""Parquet files of shards: their columns, their summaries, and the table of damaged inputs."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import msgspec

from fer_edge._files import atomic_path
from fer_edge._require import require
from fer_edge._settings import convert
from fer_edge._typed import JSON_ERRORS
from fer_edge.errors import DataError, FerEdgeError
from fer_edge.quality import FaceQuality
from fer_edge.rows import ParquetTable, Row, column_types, rows_of, write_table
from fer_edge.score.columns import EXTRA

DAMAGED = "_damaged.csv"
KEY = "fer_edge"
MAX_ERROR = 500  # characters
# Tilt and detection score of the face are columns already.
QUALITIES = tuple(field.name for field in fields(FaceQuality) if field.name not in ("tilt", "detection"))


@dataclass(frozen=True)
class Damage:
    """Input without a result.

    Attributes:
        source: Path of the file.
        item: Name of a tar member, or number of a row; None for a file of its own.
        error: Reason.
    """

    source: str
    item: str | None
    error: str


@dataclass(frozen=True)
class Summary:
    """Counts of a shard, which its file contains.

    Attributes:
        plan: SHA-256 of the plan.
        images: Images and frames that were scored.
        without_face: Those of them without a face.
        faces: Rows.
        damaged: Inputs without a result.
        version: Version of fer-edge.
    """

    plan: str
    images: int
    without_face: int
    faces: int
    damaged: tuple[Damage, ...]
    version: str


def shard_path(folder: Path, shard: int) -> Path:
    """Return the path of a shard: `part-000012.parquet`."""
    return folder / f"part-{shard:06}.parquet"


def shard_types(labels: Sequence[str]) -> dict[str, str]:
    """Return Arrow's names of the types by column.

    Args:
        labels: Labels of the model.
    """
    types = {"source": "string", "item": "string", **column_types(labels), "warning": "string"}
    return types | {f"quality_{name}": "float32" for name in QUALITIES} | {"model": "string"}


def shard_rows(document: Mapping[str, Any], item: str | None, model: str) -> list[Row]:
    """Return a row for each face of a document.

    Args:
        document: Result document.
        item: Name of a tar member, or number of a row; None for a file of its own.
        model: SHA-256 of the bundle.
    """
    rows = []
    for row, person in zip(rows_of(dict(document)), document["people"], strict=True):
        quality = person["quality"] or {}
        rows.append(
            {
                "source": document["source"],
                "item": item,
                **row,
                "warning": person["expression"]["warning"],
                **{f"quality_{name}": quality.get(name) for name in QUALITIES},
                "model": model,
            }
        )
    return rows


@contextmanager
def write_shard(folder: Path, shard: int, labels: Sequence[str]) -> Iterator[ParquetTable]:
    """Open the file of a shard, which appears under its name at the end of the block, if that is reached.

    Args:
        folder: Folder of the results.
        shard: Number of the shard.
        labels: Labels of the model.

    Raises:
        FerEdgeError: File that cannot be written.
    """
    with (
        atomic_path(shard_path(folder, shard)) as temporary,
        write_table(temporary, shard_types(labels), EXTRA) as table,
    ):
        yield table


def summary_text(summary: Summary) -> str:
    """Return the metadata of a shard's file."""
    return msgspec.json.encode(asdict(summary)).decode()


def read_summary(folder: Path, shard: int, plan: str) -> Summary | None:
    """Read the summary of a shard; None if it has to be scored: it is missing, damaged, or of another plan.

    Args:
        folder: Folder of the results.
        shard: Number of the shard.
        plan: SHA-256 of the plan.
    """
    arrow, parquet = (require(name, EXTRA, "scoring") for name in ("pyarrow", "pyarrow.parquet"))
    try:
        metadata = parquet.read_metadata(shard_path(folder, shard))
        data = msgspec.json.decode((metadata.metadata or {})[KEY.encode()])
        summary: Summary = convert(data, Summary, "the summary", DataError)
    except (arrow.ArrowException, OSError, KeyError, DataError, *JSON_ERRORS):
        return None
    return summary if summary.plan == plan and summary.faces == metadata.num_rows else None


def write_damaged(folder: Path, damaged: Iterable[Damage]) -> Path:
    """Write the table of damaged inputs, also without any.

    Args:
        folder: Folder of the results.
        damaged: Damaged inputs.

    Returns:
        Path of the table.

    Raises:
        FerEdgeError: File that cannot be written.
    """
    path = folder / DAMAGED
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow([field.name for field in fields(Damage)])
        lines.writerows((entry.source, entry.item, entry.error) for entry in damaged)
    return path


def remove_leftovers(folder: Path) -> None:
    """Remove the files that killed workers have left unfinished, and the counts of attempts."""
    for pattern in (".part-*.parquet.*", "._plan.arrow.*", "._damaged.csv.*", ".attempts-*"):
        for path in folder.glob(pattern):
            with suppress(OSError):
                path.unlink()


def count_attempt(folder: Path, shard: int) -> int:
    """Count an attempt to score a shard in a file, where it remains if the process dies.

    Args:
        folder: Folder of the results.
        shard: Number of the shard.

    Returns:
        Number of attempts so far, with this one.

    Raises:
        FerEdgeError: Folder that cannot be written.
    """
    path = _attempts_path(folder, shard)
    try:
        with path.open("ab") as file:
            file.write(b".")
        return path.stat().st_size
    except OSError as error:
        raise FerEdgeError(f"cannot write {path}: {error.strerror}") from error


def end_attempts(folder: Path, shard: int) -> None:
    """Remove the count of attempts of a shard that is scored.

    Args:
        folder: Folder of the results.
        shard: Number of the shard.
    """
    with suppress(OSError):
        _attempts_path(folder, shard).unlink()


def _attempts_path(folder: Path, shard: int) -> Path:
    return folder / f".attempts-{shard:06}"
