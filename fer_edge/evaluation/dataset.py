"""Images for evaluation and parity, labelled or not, without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_edge.data.images import read_face
from fer_edge.data.layouts import AUTO, find_layout, read_split
from fer_edge.data.splits import Box, LabelledSplit, Split
from fer_edge.engines.base import IMAGE_SIZE, Images
from fer_edge.errors import DataError, ImageError
from fer_edge.labels import match_labels
from fer_edge.walk import SUFFIXES, find_images

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ImageSet:
    """Image files and, where known, the index of each one's label. May be iterated again and again."""

    paths: tuple[Path, ...]
    labels: Labels | None
    boxes: tuple[Box | None, ...] | None = None  # where the face is; None: the image is the face
    source: str = ""  # for people: "FERPlus valid"

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
        return ImageSet(
            tuple(self.paths[i] for i in indices),
            None if self.labels is None else self.labels[indices],
            None if self.boxes is None else tuple(self.boxes[i] for i in indices),
            self.source,
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
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []
    indices = match_labels([folder.name for folder in folders], labels, words)
    if not any(index >= 0 for index in indices):
        return ImageSet(find_images(root).paths, None)
    if min(indices) < 0:
        unknown = ", ".join(folder.name for folder, index in zip(folders, indices, strict=True) if index < 0)
        raise DataError(f"{root} has folders that are no labels: {unknown}; expected some of: {', '.join(labels)}")
    found = [
        (path, index)
        for folder, index in zip(folders, indices, strict=True)
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
    ]
    if not found:
        raise ImageError(f"no images below {root}")
    return ImageSet(
        tuple(path for path, _ in found), np.array([label for _, label in found], np.int64), None, root.resolve().name
    )


def _of_split(data: LabelledSplit, labels: Sequence[str], words: Sequence[str]) -> ImageSet:
    """What the protocol counts; a label that the model does not have drops its images."""
    index = np.array([*match_labels(data.label_set.labels, labels, words), -1], np.int64)
    if index.max() < 0:
        theirs = ", ".join(data.label_set.labels)
        raise DataError(f"the model's labels, {', '.join(labels)}, share none with {data.source}: {theirs}")
    targets = index[data.labels]
    counted = data.take(np.flatnonzero(targets >= 0))
    return ImageSet(counted.paths, targets[targets >= 0], counted.boxes, data.source)
