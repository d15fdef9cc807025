"""Images that stand twice: in training and validation, or under two labels. Needs no torch."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer_edge._files import file_sha256
from fer_edge.data.splits import LabelledSplit
from fer_edge.errors import DataError
from fer_edge.walk import LeftOut

# Of the validation images. 7.7 % of FERPlus's own are equal to training images, since FER2013 has many images twice.
MOST_COPIES = 0.1
COPY = "copy of a validation image"


class _File(NamedTuple):
    """Identity of a file on its disk, and its size in bytes."""

    identity: tuple[int, int] | Path
    size: int


def keep_apart(train: LabelledSplit, valid: LabelledSplit) -> tuple[LabelledSplit, list[str]]:
    """The training images that are not validation images as well, and notes on the others.

    A few copies are left out of training, in `left_out`. Where both splits are those that a data set was published
    with, they stay, since results are compared on these splits.

    Args:
        train: Images to learn from.
        valid: Images to validate on.

    Raises:
        DataError: A file is in both, or too many validation images are copies of training images.
    """
    files = {path: file for path in {*train.paths, *valid.paths} if (file := _file(path)) is not None}
    _refuse_same(train, valid, files)
    counted = [path for path, label in zip(valid.paths, valid.labels, strict=True) if label >= 0]
    digests = _digests([*train.paths, *counted], files)
    first: dict[str, Path] = {}
    for path in train.paths:
        if path in digests:
            first.setdefault(digests[path], path)
    copies = [(path, first[digests[path]]) for path in counted if digests.get(path) in first]
    notes = _two_labels(train, digests)
    if not copies:
        return train, notes
    valid_copy, train_copy = copies[0]
    about = (
        f"{len(copies)} of {len(counted)} images of {valid.source} are copies of images of {train.source}, "
        f"such as {valid_copy} of {train_copy}"
    )
    if len(copies) > MOST_COPIES * len(counted):
        raise DataError(f"{about}; expected other images to validate on: remove them from one of the two")
    if train.official and valid.official:
        return train, [*notes, f"{about}; both splits are used as they were published"]
    seen = {digests[path] for path, _ in copies}
    is_copy = np.array([digests.get(path) in seen for path in train.paths])
    left_out = tuple(LeftOut(train.paths[i], COPY) for i in np.flatnonzero(is_copy))
    kept = train.take(np.flatnonzero(~is_copy))
    return replace(kept, left_out=(*train.left_out, *left_out)), notes


def _file(path: Path) -> _File | None:
    """None for a file that is not there, which reading it names."""
    try:
        status = path.stat()
    except OSError:
        return None
    return _File((status.st_dev, status.st_ino) if status.st_ino else path.resolve(), status.st_size)


def _refuse_same(train: LabelledSplit, valid: LabelledSplit, files: dict[Path, _File]) -> None:
    """Compare the files themselves, through links and other spellings of a path.

    Raises:
        DataError: One is in both splits.
    """
    learned = {files[path].identity: path for path in reversed(train.paths) if path in files}
    judged = {files[path].identity: path for path in reversed(valid.paths) if path in files}
    if learned and learned.keys() == judged.keys():  # a list file stands for every split
        raise DataError(
            f"{valid.source} has the same {len(judged)} images to validate on as {train.source} has to learn from; "
            "expected others: name validation images with --valid"
        )
    both = [identity for identity in judged if identity in learned]
    if both:
        example = judged[both[-1]]
        raise DataError(
            f"{len(both)} of {len(judged)} images of {valid.source} are also in {train.source}, such as {example}; "
            "expected other images to validate on: remove them from one of the two"
        )


def _digests(paths: Sequence[Path], files: dict[Path, _File]) -> dict[Path, str]:
    """SHA-256 of each file that has the size of another one; no other can be a copy."""
    sizes = Counter(files[path].size for path in dict.fromkeys(paths) if path in files)
    digests: dict[Path, str] = {}
    for path in dict.fromkeys(paths):
        if path in files and files[path].size and sizes[files[path].size] > 1:
            try:
                digests[path] = file_sha256(path)
            except OSError:  # decoding the image names it
                continue
    return digests


def _two_labels(train: LabelledSplit, digests: dict[Path, str]) -> list[str]:
    """A note on equal images that have different labels."""
    groups: dict[str, dict[int, Path]] = defaultdict(dict)
    for path, label in zip(train.paths, train.labels, strict=True):
        if path in digests and label >= 0:
            groups[digests[path]].setdefault(int(label), path)
    several = [tuple(group.items()) for group in groups.values() if len(group) > 1]
    if not several:
        return []
    (first, first_path), (second, second_path) = several[0][:2]
    names = train.label_set.labels
    return [
        f"{train.source} has equal images with different labels: {len(several)}, such as {first_path} "
        f"({names[first]}) and {second_path} ({names[second]})"
    ]
