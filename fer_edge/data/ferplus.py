"""FERPlus: FER2013's images with ten votes each (Barsoum et al., ICMI 2016). Imports no torch."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_edge.choices import Split
from fer_edge.data.lists import read_text_file
from fer_edge.data.splits import Box, Indices, LabelledSplit, Layout
from fer_edge.errors import DataError, shown
from fer_edge.labels import FERPLUS

FOLDERS: dict[str, str] = {"train": "FER2013Train", "valid": "FER2013Valid", "test": "FER2013Test"}
CLASSES = len(FERPLUS)
VOTE_COLUMNS = CLASSES + 2  # the classes, then "unknown" and "NF" (no face)
MAX_VOTES = 10**6  # for one class; ten people voted
WHOLE_IMAGE = (0, 0, 48, 48)  # box of every published image
MULTI_TARGET_SHARE = 0.3  # smallest share of the votes that makes a class one of an image's several labels


def is_ferplus(root: Path) -> bool:
    """Return whether `root` has FERPlus's layout."""
    return any((root / folder / "label.csv").is_file() for folder in FOLDERS.values())


def read_ferplus(root: Path, split: Split) -> LabelledSplit:
    """Read one split's `label.csv`: image name, face box, ten vote counts. Labels follow the majority protocol.

    Raises:
        DataError: Missing or unreadable folder or file, or an invalid line.
    """
    folder = root / FOLDERS[split]
    table = folder / "label.csv"
    if not table.is_file():
        raise DataError(f"no {table}; expected FERPlus's layout: {', '.join(FOLDERS.values())}, each with label.csv")
    paths, rows, boxes = [], [], []
    for number, row in enumerate(_rows(table), start=1):
        try:
            counts = [int(value) for value in row[2 : 2 + VOTE_COLUMNS]]
        except ValueError as error:
            raise DataError(f"{table}, line {number}: votes are not numbers: {error}") from error
        valid = len(row) == 2 + VOTE_COLUMNS and 0 <= min(counts) <= max(counts) <= MAX_VOTES
        if not valid or Path(row[0]).name != row[0]:
            raise DataError(f"{table}, line {number}: expected an image name, a box and {VOTE_COLUMNS} vote counts")
        paths.append(folder / row[0])
        rows.append(counts)
        boxes.append(_box(row[1], f"{table}, line {number}"))
    if not paths:
        raise DataError(f"{table} lists no image")
    votes = np.asarray(rows, dtype=np.int64)
    return LabelledSplit(
        f"FERPlus {split}",
        FERPLUS,
        tuple(paths),
        majority_labels(votes),
        votes,
        tuple(boxes) if any(boxes) else None,
        official=True,
    )


def _box(text: str, where: str) -> Box | None:
    """Parse a face box, `(left, top, right, bottom)`; None for an empty column or the whole image.

    Raises:
        DataError: Invalid box.
    """
    if not text.strip():
        return None
    edges = re.fullmatch(
        r"\s*\(?\s*{0}\s*,\s*{0}\s*,\s*{0}\s*,\s*{0}\s*\)?\s*".format(r"(-?\d{1,9}(?:\.\d{0,9})?)"), text
    )
    left, top, right, bottom = (float(value) for value in edges.groups()) if edges else (0.0, 0.0, 0.0, 0.0)
    if right <= left or bottom <= top:
        raise DataError(f"{where}: the box is {shown(text)}; expected (left, top, right, bottom) in pixels")
    return None if (left, top, right, bottom) == WHOLE_IMAGE else (left, top, right - left, bottom - top)


def _rows(table: Path) -> Iterator[list[str]]:
    try:
        yield from csv.reader(io.StringIO(read_text_file(table), newline=""))
    except csv.Error as error:
        raise DataError(f"{table} is not a valid CSV file: {error}; get the file again") from error


def majority_labels(votes: Indices) -> Indices:
    """Return labels by the protocol "majority": the class with more than half of the votes.

    Classes with a single vote count as 0 votes.

    Returns:
        (N,); -1 without a majority, or if "unknown" or "NF" has it.
    """
    counts = np.where(votes > 1, votes, 0)
    winner = counts.argmax(axis=1)
    valid = (2 * counts.max(axis=1) > counts.sum(axis=1)) & (winner < CLASSES)
    return np.where(valid, winner, -1)


def vote_distributions(votes: Indices) -> npt.NDArray[np.float32]:
    """Return the votes as distributions, for the protocols "crossentropy" and "probability".

    Classes with a single vote count as 0 votes.

    Returns:
        (N, 8); zeros for an image of which "unknown" and "NF" have at least half of the votes.
    """
    counts = np.where(votes > 1, votes, 0).astype(np.float32)
    classes = counts[:, :CLASSES]
    valid = 2 * classes.sum(axis=1) > counts.sum(axis=1)
    total = np.maximum(classes.sum(axis=1, keepdims=True), 1)
    return np.where(valid[:, None], classes / total, 0).astype(np.float32)


def multi_targets(votes: Indices) -> npt.NDArray[np.float32]:
    """Return several labels per image, for the protocol "multi_target": 1 for each class with 30 % of the votes.

    Classes with a single vote count as 0 votes.

    Returns:
        (N, 8); zeros for an image whose labels have at most half of the votes together.
    """
    counts = np.where(votes > 1, votes, 0)
    total = counts.sum(axis=1, keepdims=True)
    chosen = (counts[:, :CLASSES] >= MULTI_TARGET_SHARE * total) & (counts[:, :CLASSES] > 0)
    valid = 2 * (counts[:, :CLASSES] * chosen).sum(axis=1, keepdims=True) > total
    return (chosen & valid).astype(np.float32)


LAYOUT = Layout("ferplus", "FER2013Train, FER2013Valid, each with label.csv", is_ferplus, read_ferplus)
