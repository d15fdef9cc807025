"""Image sets for evaluation and parity, labelled or unlabelled; no torch needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from fer_edge.choices import Split
from fer_edge.data.folders import read_class_folders, split_folder
from fer_edge.data.images import read_face
from fer_edge.data.layouts import AUTO, find_layout, read_split
from fer_edge.data.matching import match_split
from fer_edge.data.splits import Box, LabelledSplit
from fer_edge.engines.base import IMAGE_SIZE, Images
from fer_edge.errors import ConfigError, DataError, ImageError
from fer_edge.labels import expected_names, match_labels, unknown_names
from fer_edge.walk import LeftOut, find_images, list_folders

Labels = npt.NDArray[np.int64]
NO_LABELS = "these images have no labels; expected FERPlus's layout or one folder per label"


@dataclass(frozen=True)
class ImageSet:
    """Image files and, if known, the index of each image's label."""

    paths: tuple[Path, ...]
    labels: Labels | None
    boxes: tuple[Box | None, ...] | None = None  # face box of each image; None: the whole image
    source: str = ""  # name to display: "FERPlus valid"
    left_out: tuple[LeftOut, ...] = ()  # files, folders and images that are not in `paths`
    unlabelled: str = NO_LABELS  # error message of commands that need labels

    def __len__(self) -> int:
        return len(self.paths)

    def batches(
        self, size: int, skip: Callable[[int, ImageError], None] | None = None
    ) -> Iterator[tuple[Images, Labels | None]]:
        """Yield decoded batches, (n, 112, 112, 3), and their labels. Every call reads the files again.

        Args:
            size: Number of images in a batch.
            skip: Callback that receives the index and error of an unreadable image, which is then skipped. Without
                it, the first such image raises.

        Raises:
            ImageError: An unreadable image, or a face box outside of its image; the message has the path.
        """
        for start in range(0, len(self.paths), size):
            paths = self.paths[start : start + size]
            images = np.empty((len(paths), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
            readable: list[int] = []
            for index, path in enumerate(paths, start):
                try:
                    images[len(readable)] = read_face(path, self.boxes[index] if self.boxes else None)
                    readable.append(index)
                except ImageError as error:
                    if skip is None:
                        raise
                    skip(index, error)
            if readable:
                yield images[: len(readable)], None if self.labels is None else self.labels[readable]

    def take(self, indices: Labels) -> ImageSet:
        """Return a subset, in the order of the indices."""
        return replace(
            self,
            paths=tuple(self.paths[i] for i in indices),
            labels=None if self.labels is None else self.labels[indices],
            boxes=None if self.boxes is None else tuple(self.boxes[i] for i in indices),
        )

    def limit(self, count: int | None) -> ImageSet:
        """Return `count` images, evenly spread because class folders are sorted; None returns all of them.

        Raises:
            ConfigError: A count below 1.
        """
        if count is not None and count < 1:
            raise ConfigError(f"the number of images is {count}; expected at least 1")
        if count is None or count >= len(self):
            return self
        return self.take(np.linspace(0, len(self) - 1, count).round().astype(np.int64))


def image_set(
    root: Path, labels: Sequence[str], words: Sequence[str] = (), split: Split = "valid", layout: str = AUTO
) -> ImageSet:
    """Find the images of a data set, of one folder per label, or of a folder without labels.

    Args:
        root: Data set (see `fer_edge.data.layouts`), or folder of images.
        labels: Labels of the model. Labels of the data set are matched with them by name.
        words: Synonyms of the labels, which folders may be named after.
        split: Split of a data set that has splits; "valid" by default.
        layout: Layout of the data set; "auto" detects it.

    Raises:
        ConfigError: An unknown split or layout.
        DataError: Only some folders are named after labels, or the model has none of the data set's labels.
        ImageError: No images.
    """
    if split not in get_args(Split):
        raise ConfigError(f"no split {split!r}; expected one of: {', '.join(get_args(Split))}")
    if layout != AUTO or find_layout(root) is not None:
        return _matched_set(read_split(root, split, layout), labels, words)
    names = [folder.name for folder in list_folders(root)] if root.is_dir() else []
    if not _any_label(names, labels, words):
        below = split_folder(root, split)  # of a data set without training images
        if below is not None and _any_label([folder.name for folder in list_folders(below)], labels, words):
            return image_set(below, labels, words, split, layout)
        listing = find_images(root)
        return ImageSet(
            listing.paths, None, left_out=listing.left_out, unlabelled=_unlabelled_message(root, names, labels, words)
        )
    unknown = unknown_names(names, labels, words)
    if unknown:
        expected = expected_names(unknown, labels, words)
        raise DataError(f"{root} has folders that are not labels: {expected}; rename or remove them")
    return _matched_set(read_class_folders(root, None, root.resolve().name), labels, words)


def _any_label(names: Sequence[str], labels: Sequence[str], words: Sequence[str]) -> bool:
    return any(index >= 0 for index in match_labels(names, labels, words))


def _unlabelled_message(root: Path, names: Sequence[str], labels: Sequence[str], words: Sequence[str]) -> str:
    """Return the error message of commands that need labels, for a folder of unlabelled images."""
    if not names:
        return NO_LABELS
    expected = expected_names(names, labels, words)
    return f"these images have no labels: the folders of {root} are not labels: {expected}; rename the folders"


def _matched_set(data: LabelledSplit, labels: Sequence[str], words: Sequence[str]) -> ImageSet:
    """Select the images that the data set's protocol counts and whose label the model has."""
    targets, left_out = match_split(data, labels, words)
    counted = data.take(np.flatnonzero(targets >= 0))
    return ImageSet(counted.paths, targets[targets >= 0], counted.boxes, data.source, (*data.left_out, *left_out))
