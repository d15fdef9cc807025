"""FERPlus: FER2013's images with ten votes each (Barsoum et al., ICMI 2016)."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np

from fer_edge.choices import Split
from fer_edge.data.images import Box, ImageSet
from fer_edge.data.layouts import Layout, read_text_file
from fer_edge.data.targets import CLASSES, majority_labels
from fer_edge.errors import DataError, shown
from fer_edge.labels import FERPLUS

FOLDERS: dict[str, str] = {"train": "FER2013Train", "valid": "FER2013Valid", "test": "FER2013Test"}
VOTE_COLUMNS = CLASSES + 2  # the classes, then "unknown" and "NF" (no face)
MAX_VOTES = 10**6  # for one class; ten people voted
WHOLE_IMAGE = (0, 0, 48, 48)  # box of every published image


def is_ferplus(root: Path) -> bool:
    """Return whether `root` has FERPlus's layout."""
    return any((root / folder / "label.csv").is_file() for folder in FOLDERS.values())


def read_ferplus(root: Path, split: Split) -> ImageSet:
    """Read one split's `label.csv`: image name, face box, ten vote counts. Labels follow the majority protocol.

    Raises:
        DataError: Missing or unreadable folder or file, or an invalid line.
    """
    folder = root / FOLDERS[split]
    table = folder / "label.csv"
    if not table.is_file():
        raise DataError(f"no {table}; expected FERPlus's layout: {', '.join(FOLDERS.values())}, each with label.csv")
    try:
        lines = list(csv.reader(io.StringIO(read_text_file(table), newline="")))
    except csv.Error as error:
        raise DataError(f"{table} is not a valid CSV file: {error}; get the file again") from error
    if not lines:
        raise DataError(f"{table} lists no image")
    counts, boxes = [], []
    for number, row in enumerate(lines, start=1):
        where = f"{table}, line {number}"
        try:
            counts.append([int(value) for value in row[2 : 2 + VOTE_COLUMNS]])
        except ValueError as error:
            raise DataError(f"{where}: votes are not numbers: {error}") from error
        valid = len(row) == 2 + VOTE_COLUMNS and 0 <= min(counts[-1]) <= max(counts[-1]) <= MAX_VOTES
        if not valid or Path(row[0]).name != row[0]:
            raise DataError(f"{where}: expected an image name, a box and {VOTE_COLUMNS} vote counts")
        boxes.append(_box(row[1], where))
    votes = np.array(counts, np.int64)
    paths, labels = tuple(folder / row[0] for row in lines), majority_labels(votes)
    face_boxes = tuple(boxes) if any(boxes) else None
    return ImageSet(paths, labels, face_boxes, f"FERPlus {split}", label_set=FERPLUS, votes=votes, official=True)


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


LAYOUT = Layout("ferplus", "FER2013Train, FER2013Valid, each with label.csv", is_ferplus, read_ferplus)
