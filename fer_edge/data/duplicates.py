"""Duplicate images: in training and validation, or under two labels. Imports no torch."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from fer_edge._files import file_sha256
from fer_edge.data.images import ImageSet
from fer_edge.errors import DataError
from fer_edge.walk import LeftOut

# Largest accepted share of validation images that are copies. FERPlus has 7.7 %: FER2013 contains many images twice.
MAX_COPIES = 0.1
COPY = "copy of a validation image"


def separate(train: ImageSet, valid: ImageSet) -> tuple[ImageSet, list[str]]:
    """Remove copies of validation images from a training split.

    Removed images are listed in `left_out`. If both splits are official, copies stay, because published results use
    these splits as they are.

    Args:
        train: Training images.
        valid: Validation images.

    Returns:
        The training split without copies, and notes on copies and on equal images with different labels.

    Raises:
        DataError: A file in both splits, or too many copies.
    """
    _check_disjoint(train, valid)
    counted = [path for path, label in zip(valid.paths, valid.required_labels, strict=True) if label >= 0]
    digests = _digests([*train.paths, *counted])
    first = {digests[path]: path for path in reversed(train.paths) if path in digests}
    copies = [(path, first[digests[path]]) for path in counted if digests.get(path) in first]
    notes = _conflicting_labels(train, digests)
    if not copies:
        return train, notes
    valid_copy, train_copy = copies[0]
    summary = (
        f"{len(copies)} of {len(counted)} images of {valid.source} are copies of images of {train.source}, "
        f"such as {valid_copy} of {train_copy}"
    )
    if len(copies) > MAX_COPIES * len(counted):
        raise DataError(f"{summary}; expected other images to validate on: remove them from one of the two")
    if train.official and valid.official:
        return train, [*notes, f"{summary}; both splits are used as published"]
    copied = {digests[path] for path, _ in copies}
    is_copy = np.array([digests.get(path) in copied for path in train.paths])
    left_out = tuple(LeftOut(train.paths[i], COPY) for i in np.flatnonzero(is_copy))
    remaining = train.take(np.flatnonzero(~is_copy))
    return replace(remaining, left_out=(*train.left_out, *left_out)), notes


def _check_disjoint(train: ImageSet, valid: ImageSet) -> None:
    """Check that no file is in both splits, also through links and other spellings of its path.

    Raises:
        DataError: A file in both splits.
    """
    train_files, valid_files = _identities(train.paths), _identities(valid.paths)
    if train_files and train_files.keys() == valid_files.keys():  # a list file is read for every split
        raise DataError(
            f"{valid.source} and {train.source} contain the same {len(valid_files)} images; expected other images to "
            "validate on: name them with --valid-data"
        )
    both = [path for identity, path in valid_files.items() if identity in train_files]
    if both:
        raise DataError(
            f"{len(both)} of {len(valid_files)} images of {valid.source} are also in {train.source}, such as "
            f"{both[0]}; expected other images to validate on: remove them from one of the two"
        )


def _identities(paths: Iterable[Path]) -> dict[tuple[int, int] | Path, Path]:
    """Return the first path of each existing file by the file's identity on its disk."""
    files: dict[tuple[int, int] | Path, Path] = {}
    for path in paths:
        try:
            status = path.stat()
        except OSError:  # reported when the image is decoded
            continue
        files.setdefault((status.st_dev, status.st_ino) if status.st_ino else path.resolve(), path)
    return files


def _digests(paths: Iterable[Path]) -> dict[Path, str]:
    """Hash each file whose size occurs more than once; only these can have copies."""
    sizes = {path: path.stat().st_size for path in dict.fromkeys(paths) if path.is_file()}
    counts = Counter(sizes.values())
    digests: dict[Path, str] = {}
    for path, size in sizes.items():
        if size and counts[size] > 1:
            with suppress(OSError):  # reported when the image is decoded
                digests[path] = file_sha256(path)
    return digests


def _conflicting_labels(train: ImageSet, digests: dict[Path, str]) -> list[str]:
    """Return a note on equal images with different labels, if there are any."""
    groups: dict[str, dict[int, Path]] = defaultdict(dict)
    for path, label in zip(train.paths, train.required_labels, strict=True):
        if path in digests and label >= 0:
            groups[digests[path]].setdefault(int(label), path)
    conflicts = [tuple(group.items()) for group in groups.values() if len(group) > 1]
    if not conflicts:
        return []
    (first, first_path), (second, second_path) = conflicts[0][:2]
    names = train.label_set.labels
    return [
        f"{train.source} has equal images with different labels: {len(conflicts)}, such as {first_path} "
        f"({names[first]}) and {second_path} ({names[second]})"
    ]
