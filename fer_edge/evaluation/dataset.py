"""Images for evaluation and parity, labelled or not, without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_edge.choices import Split
from fer_edge.data.folders import read_class_folders, split_folder
from fer_edge.data.images import read_face
from fer_edge.data.layouts import AUTO, find_layout, read_split
from fer_edge.data.matching import match_split
from fer_edge.data.splits import Box, LabelledSplit
from fer_edge.engines.base import IMAGE_SIZE, Images
from fer_edge.errors import DataError, ImageError
from fer_edge.labels import expected_names, match_labels, unknown_names
from fer_edge.walk import LeftOut, find_images, list_folders

Labels = npt.NDArray[np.int64]
NO_LABELS = "these images have no labels; expected FERPlus's layout or one folder per label"


@dataclass(frozen=True)
class ImageSet:
    """Image files and, where known, the index of each one's label. May be iterated again and again."""

    paths: tuple[Path, ...]
    labels: Labels | None
    boxes: tuple[Box | None, ...] | None = None  # where the face is; None: the image is the face
    source: str = ""  # for people: "FERPlus valid"
    left_out: tuple[LeftOut, ...] = ()  # files, folders and images that are not among the paths
    unlabelled: str = NO_LABELS  # message of a command that needs labels, if there are none

    def __len__(self) -> int:
        return len(self.paths)

    def batches(
        self, size: int, skip: Callable[[int, ImageError], None] | None = None
    ) -> Iterator[tuple[Images, Labels | None]]:
        """Decoded batches, (n, 112, 112, 3), and their labels.

        Args:
            size: Images in a batch.
            skip: Told the index of each image that cannot be read, and why; that image is left out. Without it, the
                first one raises.

        Raises:
            ImageError: An image cannot be read, or its box is outside of it; the message names it.
        """
        for start in range(0, len(self.paths), size):
            paths = self.paths[start : start + size]
            images = np.empty((len(paths), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
            kept: list[int] = []
            for index, path in enumerate(paths, start):
                try:
                    images[len(kept)] = read_face(path, self.boxes[index] if self.boxes else None)
                    kept.append(index)
                except ImageError as error:
                    if skip is None:
                        raise
                    skip(index, error)
            if kept:
                yield images[: len(kept)], None if self.labels is None else self.labels[kept]

    def take(self, indices: Labels) -> ImageSet:
        """Some of the images, in the order given."""
        return replace(
            self,
            paths=tuple(self.paths[i] for i in indices),
            labels=None if self.labels is None else self.labels[indices],
            boxes=None if self.boxes is None else tuple(self.boxes[i] for i in indices),
        )

    def limited(self, count: int | None) -> ImageSet:
        """So many images, evenly spread: class folders come one after the other."""
        if count is None or count >= len(self):
            return self
        return self.take(np.linspace(0, len(self) - 1, count).round().astype(np.int64))


def image_set(
    root: Path, labels: Sequence[str], words: Sequence[str] = (), split: Split = "valid", layout: str = AUTO
) -> ImageSet:
    """Images of a data set, of one folder per label, or of a folder without labels.

    Args:
        root: The data set, see `fer_edge.data.layouts`, or a folder of images.
        labels: The model's labels; targets are indices into them, matched by name.
        words: Other names of the same labels, which folders may bear.
        split: Of a data set that has several.
        layout: Of the data set; "auto": as found.

    Raises:
        DataError: Some folders are named as labels and others are not, or the model has none of the set's labels.
        ImageError: There are no images.
    """
    if layout != AUTO or find_layout(root) is not None:
        return _of_split(read_split(root, split, layout), labels, words)
    names = [folder.name for folder in list_folders(root)] if root.is_dir() else []
    if not _any_label(names, labels, words):
        below = split_folder(root, split)  # of a data set without training images
        if below is not None and _any_label([folder.name for folder in list_folders(below)], labels, words):
            return image_set(below, labels, words, split, layout)
        listing = find_images(root)
        return ImageSet(
            listing.paths, None, left_out=listing.left_out, unlabelled=_unlabelled(root, names, labels, words)
        )
    unknown = unknown_names(names, labels, words)
    if unknown:
        expected = expected_names(unknown, labels, words)
        raise DataError(f"{root} has folders that are no labels: {expected}; rename or remove them")
    return _of_split(read_class_folders(root, None, root.resolve().name), labels, words)


def _any_label(names: Sequence[str], labels: Sequence[str], words: Sequence[str]) -> bool:
    return any(index >= 0 for index in match_labels(names, labels, words))


def _unlabelled(root: Path, names: Sequence[str], labels: Sequence[str], words: Sequence[str]) -> str:
    """Message of a command that needs labels, for images that have none."""
    if not names:
        return NO_LABELS
    expected = expected_names(names, labels, words)
    return f"these images have no labels: the folders of {root} are no labels: {expected}; rename the folders"


def _of_split(data: LabelledSplit, labels: Sequence[str], words: Sequence[str]) -> ImageSet:
    """What the protocol counts, of the labels that the model has."""
    targets, left_out = match_split(data, labels, words)
    counted = data.take(np.flatnonzero(targets >= 0))
    return ImageSet(counted.paths, targets[targets >= 0], counted.boxes, data.source, (*data.left_out, *left_out))
