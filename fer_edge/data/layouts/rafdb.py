"""RAF-DB with single labels, official layout (Li et al., CVPR 2017)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from fer_edge.choices import Split
from fer_edge.data.images import Box, ImageSet
from fer_edge.data.layouts import Layout, read_text_file
from fer_edge.errors import DataError
from fer_edge.labels import RAFDB

LIST = Path("EmoLabel") / "list_patition_label.txt"  # the data set's own spelling


def basic_folder(root: Path) -> Path:
    """Return the folder `basic`: `root` itself or a folder in it."""
    return root if (root / LIST).is_file() else root / "basic"


def is_rafdb(root: Path) -> bool:
    """Return whether `root` has RAF-DB's layout."""
    return (basic_folder(root) / LIST).is_file()


def read_rafdb(root: Path, split: Split, images: Literal["aligned", "original"] = "aligned") -> ImageSet:
    """Read one split from the official list: `train_00001.jpg 5`, classes counted from 1.

    Args:
        root: RAF-DB's folder, or its `basic`.
        split: "train" or "test"; RAF-DB has no validation split.
        images: "aligned" for the aligned crops of 100 x 100, "original" for the photographs, cropped by the boxes in
            `Annotation/boundingbox` if these files exist.

    Raises:
        DataError: Missing split, missing or unreadable list, or an invalid line.
    """
    if split == "valid":
        raise DataError("RAF-DB has the splits train and test, not valid; papers report accuracy on test: use it")
    folder = basic_folder(root)
    table = folder / LIST
    if not table.is_file():
        raise DataError(f"no {table}; expected RAF-DB's layout: basic/{LIST} and basic/Image/{images}")
    paths: list[Path] = []
    labels: list[int] = []
    for number, line in enumerate(read_text_file(table).splitlines(), start=1):
        if not line.strip():
            continue
        name, _, index = line.strip().partition(" ")
        if Path(name).name != name or index not in {str(i + 1) for i in range(len(RAFDB))}:
            raise DataError(f"{table}, line {number}: expected an image name and a class from 1 to {len(RAFDB)}")
        if name.startswith(f"{split}_"):
            file = f"{Path(name).stem}_aligned{Path(name).suffix}" if images == "aligned" else name
            paths.append(folder / "Image" / images / file)
            labels.append(int(index) - 1)
    if not paths:
        raise DataError(f"{table} lists no image of the split {split}")
    boxes = tuple(_box(folder, path) for path in paths) if images == "original" else None
    source = f"RAF-DB {split} ({images})"
    return ImageSet(tuple(paths), np.array(labels, np.int64), boxes, source, label_set=RAFDB, official=True)


def _box(folder: Path, image: Path) -> Box | None:
    """Read an image's annotation file (left, top, right, bottom); None if it does not exist."""
    file = folder / "Annotation" / "boundingbox" / f"{image.stem}_boundingbox.txt"
    if not file.is_file():
        return None
    try:
        left, top, right, bottom = (float(value) for value in read_text_file(file).split())
    except ValueError as error:
        raise DataError(f"{file}: expected four numbers: {error}") from error
    return left, top, right - left, bottom - top


LAYOUT = Layout("rafdb", f"basic/{LIST} and basic/Image/aligned", is_rafdb, read_rafdb)
ORIGINAL = Layout(
    "rafdb-original",
    f"basic/{LIST} and basic/Image/original",
    lambda root: False,  # never detected: both layouts share one folder, so this one has to be named
    partial(read_rafdb, images="original"),
)
