"""Images for evaluation and parity, labelled or not, without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_edge.data.ferplus import Split, is_ferplus, majority_labels, read_ferplus
from fer_edge.engines.base import IMAGE_SIZE, Images
from fer_edge.errors import DataError, ImageError
from fer_edge.images import SUFFIXES, crop_and_resize, find_images, read_image
from fer_edge.labels import FERPLUS

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ImageSet:
    """Image files and, where known, the index of each one's label. May be iterated again and again."""

    paths: tuple[Path, ...]
    labels: Labels | None

    def __len__(self) -> int:
        return len(self.paths)

    def batches(
        self, size: int, skip: Callable[[ImageError], None] | None = None
    ) -> Iterator[tuple[Images, Labels | None]]:
        """Decoded batches, (n, 112, 112, 3), and their labels.

        Args:
            size: Images in a batch.
            skip: Told of each image that cannot be read, which is then left out; without it, the first one raises.

        Raises:
            ImageError: An image cannot be read; the message names it.
        """
        for start in range(0, len(self.paths), size):
            paths = self.paths[start : start + size]
            images = np.empty((len(paths), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
            kept: list[int] = []
            for index, path in enumerate(paths, start):
                try:
                    images[len(kept)] = crop_and_resize(read_image(path))
                    kept.append(index)
                except ImageError as error:
                    if skip is None:
                        raise
                    skip(error)
            if kept:
                yield images[: len(kept)], None if self.labels is None else self.labels[kept]

    def limited(self, count: int | None) -> ImageSet:
        """The first `count` images."""
        return ImageSet(self.paths[:count], None if self.labels is None else self.labels[:count])


def image_set(root: Path, labels: Sequence[str], words: Sequence[str] = (), split: Split = "valid") -> ImageSet:
    """Images below a folder: FERPlus's layout, one folder per label, or without labels.

    Args:
        root: The folder.
        labels: The model's labels; targets are indices into them.
        words: Other names of the same labels, which folders may bear.
        split: Of FERPlus.

    Raises:
        DataError: Some folders are named as labels and others are not, or the model lacks a label of FERPlus.
        ImageError: There are no images.
    """
    if is_ferplus(root):
        return _ferplus(root, labels, split)
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []
    names = {name.lower(): index for index, name in enumerate(labels)}
    names |= {word.lower(): index for index, word in enumerate(words) if word.lower() not in names}
    known = [folder for folder in folders if folder.name.lower() in names]
    if not known:
        return ImageSet(tuple(find_images(root)), None)
    if len(known) != len(folders):
        unknown = ", ".join(folder.name for folder in folders if folder not in known)
        raise DataError(f"{root} has folders that are no labels: {unknown}; expected some of: {', '.join(labels)}")
    found = [
        (path, names[folder.name.lower()])
        for folder in known
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
    ]
    if not found:
        raise ImageError(f"no images below {root}")
    return ImageSet(tuple(path for path, _ in found), np.array([label for _, label in found], np.int64))


def _ferplus(root: Path, labels: Sequence[str], split: Split) -> ImageSet:
    """Protocol "majority"; a label that the model does not have drops its images."""
    data = read_ferplus(root, split)
    if not set(labels) & set(FERPLUS.labels):
        raise DataError(
            f"the model's labels, {', '.join(labels)}, share none with FERPlus: {', '.join(FERPLUS.labels)}"
        )
    index = np.array([labels.index(name) if name in labels else -1 for name in FERPLUS.labels] + [-1], np.int64)
    targets = index[majority_labels(data.votes)]
    counted = np.flatnonzero(targets >= 0)
    return ImageSet(tuple(data.paths[i] for i in counted), targets[counted])
