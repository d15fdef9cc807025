"""Splits of data sets: image paths, labels, votes and face boxes. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_edge.choices import Split
from fer_edge.labels import LabelSet
from fer_edge.walk import LeftOut

SPLITS: tuple[Split, ...] = ("train", "valid", "test")
Box = tuple[float, float, float, float]  # x, y, width, height in pixels
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelledSplit:
    """Images of one split with their labels, which are indices into `label_set`."""

    source: str  # name for messages: "FERPlus train"
    label_set: LabelSet
    paths: tuple[Path, ...]
    labels: Indices  # (N,); -1 for an image that the protocol does not count
    votes: Indices | None = None  # (N, classes + 2), FERPlus only: the classes, unknown, no face
    boxes: tuple[Box | None, ...] | None = None  # face boxes; None: the whole image is the face
    left_out: tuple[LeftOut, ...] = ()  # files and folders of the split that are not among `paths`
    official: bool = False  # True for splits that the data set was published with

    def __len__(self) -> int:
        return len(self.paths)

    def box(self, index: int) -> Box | None:
        """Return the face box of one image, or None for the whole image."""
        return None if self.boxes is None else self.boxes[index]

    def take(self, indices: Indices) -> LabelledSplit:
        """Return a split of the images at `indices`, in that order."""
        return replace(
            self,
            paths=tuple(self.paths[i] for i in indices),
            labels=self.labels[indices],
            votes=None if self.votes is None else self.votes[indices],
            boxes=None if self.boxes is None else tuple(self.boxes[i] for i in indices),
        )


@dataclass(frozen=True)
class Layout:
    """Folder layout of a data set: detection and reading."""

    name: str
    description: str  # expected files and folders, for error messages
    matches: Callable[[Path], bool]
    read: Callable[[Path, Split], LabelledSplit]
