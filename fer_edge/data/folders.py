"""Class folders: one folder per label, alone or below one folder per split, as in SFEW 2.0. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fer_edge.choices import Split
from fer_edge.data.splits import SPLITS, LabelledSplit, Layout
from fer_edge.errors import DataError
from fer_edge.labels import LABEL_SETS, SFEW, LabelSet, canonical, comparable, expected_names, match_labels
from fer_edge.walk import LeftOut, list_folders, no_images, walk_folder

SPLIT_FOLDERS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation"),
    "test": ("test", "testing"),
}
SFEW_FOLDERS = {"angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"}
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


def is_sfew(root: Path) -> bool:
    """Return whether `root` has SFEW's folders: Train and Val, with its seven classes."""
    train = split_folder(root, "train")
    return train is not None and {comparable(folder.name) for folder in list_folders(train)} == SFEW_FOLDERS


def read_sfew(root: Path, split: Split) -> LabelledSplit:
    """Read SFEW 2.0: Train and Val, each with folders Angry, Disgust, Fear, Happy, Neutral, Sad, Surprise.

    Raises:
        DataError: Missing split, no image, or a folder with another name.
        ImageError: Unreadable folder.
    """
    return _read(root, split, SFEW, "SFEW 2.0")


def read_folders(root: Path, split: Split) -> LabelledSplit:
    """Read any data set of class folders, see `label_set_of` for its labels.

    Raises:
        DataError: Missing split, or no image.
        ImageError: Unreadable folder.
    """
    return _read(root, split, None, root.name)


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


def read_class_folders(folder: Path, labels: LabelSet | None, source: str) -> LabelledSplit:
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
        raise DataError("; ".join([f"{folder} has no folders", "expected one per label", *listing.summary()]))
    label_set = labels or label_set_of(names)
    indices = match_labels(names, label_set.labels)
    unknown = [name for name, index in zip(names, indices, strict=True) if index < 0]
    if unknown:
        expected = expected_names(unknown, label_set.labels)
        raise DataError(f"{folder} has folders that are not labels: {expected}; rename or remove them")
    index_of = dict(zip(names, indices, strict=True))
    parts_of = [path.relative_to(folder).parts for path in listing.paths]
    labelled = [(path, index_of[parts[0]]) for path, parts in zip(listing.paths, parts_of, strict=True) if parts[1:]]
    outside = [path for path, parts in zip(listing.paths, parts_of, strict=True) if not parts[1:]]
    used = {parts[0] for parts in parts_of} | {
        entry.path.name for entry in listing.left_out if entry.path.parent == folder
    }
    left_out = (
        *listing.left_out,
        *(LeftOut(path, "image outside of the label folders") for path in outside),
        *(LeftOut(below, EMPTY_FOLDER) for below in listing.folders if below.name not in used),
    )
    if not labelled:
        raise DataError(no_images(folder, left_out))
    targets = np.array([label for _, label in labelled], np.int64)
    return LabelledSplit(source, label_set, tuple(path for path, _ in labelled), targets, left_out=left_out)


def _read(root: Path, split: Split, labels: LabelSet | None, name: str) -> LabelledSplit:
    below = split_folder(root, split)
    if below is None:
        expected = " or ".join(SPLIT_FOLDERS[split])
        others = [other for other in SPLITS if other != split and split_folder(root, other)]
        if others:
            raise DataError(
                f"{root} has no folder {expected}, but the splits {' and '.join(others)}: "
                "name one of them with --split, or in training with --valid-split"
            )
        raise DataError(f"{root} has no folder {expected}; expected one folder per split, in it one per label")
    if split == "train":
        check_distinct([folder.name for folder in list_folders(below)])
    return read_class_folders(below, labels, f"{name} {split}")


SFEW_LAYOUT = Layout("sfew", "Train and Val, each with the folders Angry to Surprise", is_sfew, read_sfew)
LAYOUT = Layout("folders", "train and valid, each with one folder per label", has_splits, read_folders)
