"""Class folders: one folder per label, alone or below one folder per split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fer_edge.choices import Split
from fer_edge.data.images import ImageSet
from fer_edge.data.layouts import Layout
from fer_edge.errors import DataError
from fer_edge.labels import LABEL_SETS, LabelSet, canonical, comparable, expected_names, match_labels
from fer_edge.walk import LeftOut, list_folders, no_images, notes, walk_folder

SPLIT_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation"),
    "test": ("test", "testing"),
}
EMPTY_FOLDER = "label folder without images"


def split_folder(root: Path, split: Split) -> Path | None:
    """Return the folder of a split, in any case of letters, or None.

    Raises:
        DataError: Several folders for the split.
        ImageError: Unreadable `root`.
    """
    if not root.is_dir():
        return None
    folders = [folder for folder in list_folders(root) if comparable(folder.name) in SPLIT_FOLDERS[split]]
    if len(folders) > 1:
        names = ", ".join(folder.name for folder in folders)
        raise DataError(
            f"{root} has several folders for the split {split}: {names}; expected one: merge or rename them"
        )
    return folders[0] if folders else None


def has_splits(root: Path) -> bool:
    """Return whether `root` has a folder of training images."""
    return split_folder(root, "train") is not None


def label_set_of(names: Sequence[str]) -> LabelSet:
    """Return the known label set with exactly these names, in any form and order, or a new one, sorted by name."""
    meant = {canonical(name) for name in names}
    for label_set in LABEL_SETS.values():
        if meant == set(label_set.labels):
            return label_set
    ordered = tuple(sorted(meant))
    return LabelSet("folders", ordered, ordered)


def check_distinct(names: Sequence[str]) -> None:
    """Check that no two names of a training split mean one label; they may be intended as two classes.

    Raises:
        DataError: Two names of one label that differ in more than case and Unicode form.
    """
    name_of_label: dict[str, str] = {}
    for name in sorted(names):
        other = name_of_label.setdefault(canonical(name), name)
        if comparable(other) != comparable(name):
            raise DataError(
                f"the labels {other} and {name} mean the same, {canonical(name)}; expected one of them: "
                "give all of their images one label, or rename one"
            )


def read_class_folders(folder: Path, labels: LabelSet | None, source: str) -> ImageSet:
    """Read the images of one folder per label; `left_out` lists empty folders and files outside of label folders.

    Args:
        folder: Folder with one folder per label.
        labels: Accepted labels; None takes the labels from the folder names.
        source: Name of the split for messages.

    Raises:
        DataError: No folders, no images, or a folder name that is not a label.
        ImageError: Unreadable folder.
    """
    listing = walk_folder(folder)
    names = [below.name for below in listing.folders]
    if not names:
        raise DataError("; ".join([f"{folder} has no folders", "expected one per label", *notes(listing.left_out)]))
    label_set = labels or label_set_of(names)
    index_of = dict(zip(names, match_labels(names, label_set.labels), strict=True))
    unknown = [name for name, index in index_of.items() if index < 0]
    if unknown:
        expected = expected_names(unknown, label_set.labels)
        raise DataError(f"{folder} has folders that are not labels: {expected}; rename or remove them")
    label_of = {path: path.relative_to(folder).parts[0] for path in listing.paths if path.parent != folder}
    used = {*label_of.values(), *(entry.path.name for entry in listing.left_out if entry.path.parent == folder)}
    left_out = (
        *listing.left_out,
        *(LeftOut(path, "image outside of the label folders") for path in listing.paths if path not in label_of),
        *(LeftOut(below, EMPTY_FOLDER) for below in listing.folders if below.name not in used),
    )
    if not label_of:
        raise DataError(no_images(folder, left_out))
    indices = np.array([index_of[name] for name in label_of.values()], np.int64)
    return ImageSet(tuple(label_of), indices, source=source, left_out=left_out, label_set=label_set)


def read_folders(root: Path, split: Split, labels: LabelSet | None = None, name: str = "") -> ImageSet:
    """Read one split of class folders.

    Args:
        root: Folder with one folder per split.
        split: Split to read.
        labels: Accepted labels; None takes the labels from the folder names, see `label_set_of`.
        name: Name of the data set for messages; that of its folder by default.

    Raises:
        DataError: Missing split, no image, or a folder name that is not a label.
        ImageError: Unreadable folder.
    """
    below = split_folder(root, split)
    if below is None:
        expected = " or ".join(SPLIT_FOLDERS[split])
        others = [other for other in SPLIT_FOLDERS if other != split and split_folder(root, other)]
        if others:
            raise DataError(
                f"{root} has no folder {expected}, but the splits {' and '.join(others)}: "
                "name one of them with --split, or in training with --valid-split"
            )
        raise DataError(f"{root} has no folder {expected}; expected one folder per split, in it one per label")
    if split == "train":
        check_distinct([folder.name for folder in list_folders(below)])
    return read_class_folders(below, labels, f"{name or root.name} {split}")


LAYOUT = Layout("folders", "train and valid, each with one folder per label", has_splits, read_folders, rank=3)
