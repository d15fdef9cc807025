"""One folder per label, below one folder per split or alone; SFEW 2.0 is such a data set. Needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fer_edge.data.splits import LabelledSplit, Layout, Split
from fer_edge.errors import DataError
from fer_edge.labels import LABEL_SETS, SFEW, LabelSet, canonical, match_labels
from fer_edge.walk import SUFFIXES

SPLIT_FOLDERS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation"),
    "test": ("test", "testing"),
}
SFEW_FOLDERS = {"angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"}


def split_folder(root: Path, split: Split) -> Path | None:
    """The folder of a split, whatever its case, or None."""
    if not root.is_dir():
        return None
    named = {entry.name.lower(): entry for entry in sorted(root.iterdir()) if entry.is_dir()}
    return next((named[name] for name in SPLIT_FOLDERS[split] if name in named), None)


def has_splits(root: Path) -> bool:
    """Whether `root` has a folder of training images."""
    return split_folder(root, "train") is not None


def is_sfew(root: Path) -> bool:
    """Whether `root` has SFEW's folders: Train and Val, with its seven classes."""
    train = split_folder(root, "train")
    return train is not None and {entry.name.lower() for entry in train.iterdir()} >= SFEW_FOLDERS


def read_sfew(root: Path, split: Split) -> LabelledSplit:
    """SFEW 2.0: Train and Val, each with folders Angry, Disgust, Fear, Happy, Neutral, Sad, Surprise.

    Raises:
        DataError: The split or an image is missing, or a folder has another name.
    """
    return _read(root, split, SFEW, "SFEW 2.0")


def read_folders(root: Path, split: Split) -> LabelledSplit:
    """Any data set of class folders; the labels are a known set if the names fit one, else the names, sorted.

    Raises:
        DataError: There is no such split, or no image.
    """
    return _read(root, split, None, root.name)


def label_set_of(names: list[str]) -> LabelSet:
    """A known label set that has exactly these names, whatever their form and order, or a new one, sorted by name."""
    meant = {canonical(name) for name in names}
    for known in LABEL_SETS.values():
        if meant == set(known.labels):
            return known
    ordered = tuple(sorted(meant))
    return LabelSet("folders", ordered, ordered)


def _read(root: Path, split: Split, labels: LabelSet | None, name: str) -> LabelledSplit:
    below = split_folder(root, split)
    if below is None:
        expected = " or ".join(SPLIT_FOLDERS[split])
        raise DataError(f"{root} has no folder {expected}; expected one folder per split, in it one per label")
    folders = sorted(entry for entry in below.iterdir() if entry.is_dir())
    if not folders:
        raise DataError(f"{below} has no folders; expected one per label")
    label_set = labels or label_set_of([folder.name for folder in folders])
    indices = match_labels([folder.name for folder in folders], label_set.labels)
    unknown = [folder.name for folder, index in zip(folders, indices, strict=True) if index < 0]
    if unknown:
        raise DataError(f"{below} has folders that are no labels: {', '.join(unknown)}; expected {label_set.labels}")
    found = [
        (path, index)
        for folder, index in zip(folders, indices, strict=True)
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
    ]
    if not found:
        raise DataError(f"no images below {below}")
    targets = np.array([index for _, index in found], np.int64)
    return LabelledSplit(f"{name} {split}", label_set, tuple(path for path, _ in found), targets)


SFEW_LAYOUT = Layout("sfew", "Train and Val, each with the folders Angry to Surprise", is_sfew, read_sfew)
LAYOUT = Layout("folders", "train and valid, each with one folder per label", has_splits, read_folders)
