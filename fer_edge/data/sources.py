"""Images that a caller names by a path: a data set, class folders, or a folder without labels. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from fer_edge.choices import Split
from fer_edge.data.images import NO_LABELS, ImageSet
from fer_edge.data.layouts import AUTO, find_layout, read_split
from fer_edge.data.layouts.folders import read_class_folders, split_folder
from fer_edge.errors import ConfigError, DataError
from fer_edge.labels import expected_names, match_labels, unknown_names
from fer_edge.walk import find_images, list_folders


def check_split(root: Path, split: Split | None, layout: str = AUTO) -> None:
    """Check that a split exists, and that it has an effect.

    Args:
        root: Data set, or folder of images.
        split: Split of the data set; None if the caller names none.
        layout: Layout of the data set; "auto" detects it.

    Raises:
        ConfigError: Unknown split, or images without splits.
        FerEdgeError: Unreadable folder, or several folders for the split.
    """
    if split is None:
        return
    if split not in get_args(Split):
        raise ConfigError(f"no split {split!r}; expected one of: {', '.join(get_args(Split))}")
    if layout == AUTO and root.exists() and find_layout(root) is None and split_folder(root, split) is None:
        raise ConfigError(f"split has no effect: {root} has no splits; leave it out")


def image_set(
    root: Path, labels: Sequence[str], words: Sequence[str] = (), split: Split | None = None, layout: str = AUTO
) -> ImageSet:
    """Find the images of a data set, of one folder per label, or of a folder without labels.

    Args:
        root: Data set (see `fer_edge.data.layouts`), or folder of images.
        labels: Labels of the model. Labels of the data set are matched with them by name.
        words: Synonyms of the labels, which folders may be named after.
        split: Split of a data set that has splits; "valid" by default.
        layout: Layout of the data set; "auto" detects it.

    Raises:
        ConfigError: An unknown split or layout, or a split of images without splits.
        DataError: Only some folders are named after labels, or the model has none of the data set's labels.
        ImageError: No images.
    """
    check_split(root, split, layout)
    split = split or "valid"
    if layout != AUTO or find_layout(root) is not None:
        return read_split(root, split, layout).match(labels, words)
    names = _folder_names(root)
    if max(match_labels(names, labels, words), default=-1) < 0:
        below = split_folder(root, split)  # of a data set without training images
        if below is not None and max(match_labels(_folder_names(below), labels, words), default=-1) >= 0:
            return image_set(below, labels, words)
        listing = find_images(root)
        reason = f"the folders of {root} are not labels: {expected_names(names, labels, words)}; rename the folders"
        message = f"these images have no labels: {reason}" if names else NO_LABELS
        return ImageSet(listing.paths, left_out=listing.left_out, unlabelled=message)
    unknown = unknown_names(names, labels, words)
    if unknown:
        expected = expected_names(unknown, labels, words)
        raise DataError(f"{root} has folders that are not labels: {expected}; rename or remove them")
    return read_class_folders(root, None, root.resolve().name).match(labels, words)


def _folder_names(root: Path) -> list[str]:
    return [folder.name for folder in list_folders(root)] if root.is_dir() else []
