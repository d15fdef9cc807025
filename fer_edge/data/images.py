"""Images of a data set: the one type that training, calibration, evaluation and parity share. Imports no torch.

`batches` decodes each image when its turn comes, so data sets of any size fit in memory: evaluation, parity and the fit
of a temperature read every image once. Three users read images repeatedly and hold their pixels: training (`decode`,
66 MB for FERPlus), calibration (`pixels`) and the scorer of the search for float layers, both with 38 KB per image.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_edge.crop import crop_and_resize
from fer_edge.engines.base import IMAGE_SIZE
from fer_edge.errors import ConfigError, DataError, ImageError, InputError
from fer_edge.images import read_image
from fer_edge.labels import LabelSet, expected_names, join_names, match_labels, unknown_names
from fer_edge.progress import Advance, ignore
from fer_edge.walk import LeftOut, notes

LOG = logging.getLogger("fer_edge")
Box = tuple[float, float, float, float]  # x, y, width, height in pixels
Labels = npt.NDArray[np.int64]  # labels of images, or positions of images in a set
Pixels = npt.NDArray[np.uint8]
UNLABELLED = LabelSet("unlabelled", (), ())
NO_LABELS = "these images have no labels; expected FERPlus's layout or one folder per label"
UNCOUNTED = "no label with more than half of the votes (FER+'s majority protocol)"


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Image files of one split or folder, their labels if these are known, and what is left out."""

    paths: tuple[Path, ...]
    labels: Labels | None = None  # (N,), indices into `label_set`, -1 for an uncounted image; None: unlabelled
    boxes: tuple[Box | None, ...] | None = None  # face box of each image; None: the whole image
    source: str = ""  # name for messages: "FERPlus train"
    left_out: tuple[LeftOut, ...] = ()  # files, folders and images that are not in `paths`
    unlabelled: str = NO_LABELS  # error message of commands that need labels
    label_set: LabelSet = UNLABELLED
    votes: Labels | None = None  # (N, classes + 2), FERPlus only: the classes, unknown, no face
    official: bool = False  # True for splits that the data set was published with
    pixels: Pixels | None = None  # (N, 112, 112, 3), faces that are held in memory

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def required_labels(self) -> Labels:
        """Labels of a labelled set.

        Raises:
            DataError: Unlabelled images.
        """
        if self.labels is None:
            raise DataError(self.unlabelled)
        return self.labels

    def box(self, index: int) -> Box | None:
        """Return the face box of one image, or None for the whole image."""
        return None if self.boxes is None else self.boxes[index]

    def take(self, indices: Labels) -> ImageSet:
        """Return the images at `indices`, in that order."""
        return replace(
            self,
            paths=tuple(self.paths[i] for i in indices),
            labels=None if self.labels is None else self.labels[indices],
            boxes=None if self.boxes is None else tuple(self.boxes[i] for i in indices),
            votes=None if self.votes is None else self.votes[indices],
            pixels=None if self.pixels is None else self.pixels[indices],
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

    def choose(self, count: int, seed: int) -> ImageSet:
        """Return at most `count` images, chosen by the seed, in their order; 0 returns all of them."""
        if not count or count >= len(self):
            return self
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:count]))

    def match(self, labels: Sequence[str], words: Sequence[str] = (), owner: str = "the model") -> ImageSet:
        """Return the images that the protocol counts and whose label is one of `labels`, as indices into these.

        Args:
            labels: Labels of the model.
            words: Other names of the same labels.
            owner: Owner of `labels` for messages, "the model" by default.

        Returns:
            The matching images; the others are in `left_out`, each with its reason.

        Raises:
            DataError: No label in common, or an unknown label in the data set, such as a misspelt one.
        """
        names, own = self.label_set.labels, self.required_labels
        index = np.array([*match_labels(names, labels, words), -1], np.int64)
        if index.max() < 0:
            raise DataError(
                f"{self.source} shares no label with {owner}: its labels are {join_names(names)}; "
                f"expected some of: {', '.join(labels)}; rename its folders, or correct its list"
            )
        unknown = unknown_names(names, labels, words)
        if unknown:
            rows = np.flatnonzero(np.isin(own, [names.index(name) for name in unknown]))
            example = f" ({len(rows)} images, such as {self.paths[rows[0]]})" if len(rows) else ""
            raise DataError(
                f"{self.source} has labels that {owner} does not have: {expected_names(unknown, labels, words)}; "
                f"rename or remove them{example}"
            )
        targets = index[own]
        reasons = [*(f"label {name}, which {owner} does not have" for name in names), UNCOUNTED]
        others = (LeftOut(self.paths[i], reasons[own[i]]) for i in np.flatnonzero(targets < 0))
        matched = replace(self, labels=targets, label_set=LabelSet("matched", tuple(labels), tuple(words)))
        return replace(matched.take(np.flatnonzero(targets >= 0)), left_out=(*self.left_out, *others))

    def log_left_out(self) -> None:
        """Log one line per reason for which paths were left out."""
        for line in notes(self.left_out):
            LOG.info(line)

    def batches(
        self, size: int, skip: Callable[[int, ImageError], None] | None = None
    ) -> Iterator[tuple[Pixels, Labels | None]]:
        """Yield batches of faces, (n, 112, 112, 3), and their labels. Every call reads files that are not held.

        Args:
            size: Number of images in a batch.
            skip: Callback that receives the index and error of an unreadable image, which is then skipped. Without
                it, the first such image raises.

        Raises:
            ImageError: An unreadable image, or a face box outside of its image; the message has the path.
        """
        for start in range(0, len(self), size):
            indices = range(start, min(start + size, len(self)))
            faces = np.empty((len(indices), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
            readable: list[int] = []
            for index in indices:
                try:
                    faces[len(readable)] = self._read(index)
                    readable.append(index)
                except ImageError as error:
                    if skip is None:
                        raise
                    skip(index, error)
            if readable:
                yield faces[: len(readable)], None if self.labels is None else self.labels[readable]

    def decode(
        self, skip: Callable[[ImageError], None] | None = None, advance: Advance = ignore
    ) -> tuple[Pixels, Labels]:
        """Decode all images into one array: 10 s for FERPlus's 28,558, so a cache on disk would not pay off.

        Images up to 112 x 112 keep their size if all sizes are equal; otherwise all images are resized to 112 x 112.
        The array has one channel if all images are grey.

        Args:
            skip: Callback that receives the error of each unreadable image, which is left out; None raises the first.
            advance: Callback that receives the number of images just finished.

        Returns:
            Pixels (N, 1 or 3, H, W), and the indices (N,) of the decoded images in the set.

        Raises:
            ImageError: Missing or damaged image, or a box outside of its image; the message names the file.
            DataError: No readable image.
        """
        decoded: list[Pixels] = []
        indices: list[int] = []
        for index in range(len(self)):
            try:
                decoded.append(_grey_if_grey(self._read(index, keep_size=True)))
                indices.append(index)
            except ImageError as error:
                if skip is None:
                    raise
                skip(error)
            advance(1)
        if not decoded:
            raise DataError(f"no image of {self.source} could be read")
        if len({image.shape[:2] for image in decoded}) > 1:
            decoded = [_grey_if_grey(crop_and_resize(_rgb(image))) for image in decoded]
        if any(image.ndim == 3 for image in decoded):
            return np.stack([_rgb(image) for image in decoded]).transpose(0, 3, 1, 2), np.array(indices, np.int64)
        return np.stack(decoded)[:, None], np.array(indices, np.int64)

    def _read(self, index: int, *, keep_size: bool = False) -> Pixels:
        """Return one face, (112, 112, 3), or with `keep_size` an image without a box as it is, if it is not larger."""
        if self.pixels is not None:
            return self.pixels[index]
        path, box = self.paths[index], self.box(index)
        image = read_image(path)
        if keep_size and box is None and max(image.shape[:2]) <= IMAGE_SIZE:
            return image
        try:
            return crop_and_resize(image, box)
        except InputError as error:  # an ImageError can be skipped
            raise ImageError(f"{path}: {error}; correct the data set's list of boxes") from error


def _grey_if_grey(image: Pixels) -> Pixels:
    first = image[..., 0]
    grey = bool((first == image[..., 1]).all() and (first == image[..., 2]).all())
    return first.copy() if grey else image


def _rgb(image: Pixels) -> Pixels:
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
