"""One split of a data set: where its images lie and what they show. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from fer_edge.labels import LabelSet
from fer_edge.walk import LeftOut

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
Box = tuple[float, float, float, float]  # x, y, width, height in pixels
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelledSplit:
    """Images of one split and their labels, by name: `labels` are indices into `label_set`."""

    source: str  # for people: "FERPlus train"
    label_set: LabelSet
    paths: tuple[Path, ...]
    labels: Indices  # (N,); -1: the protocol does not count this image
    votes: Indices | None = None  # (N, classes + 2), FERPlus only: the classes, unknown, no face
    boxes: tuple[Box | None, ...] | None = None  # where the face is; None: the image is the face
    left_out: tuple[LeftOut, ...] = ()  # files and folders of the split that are not among its images
    official: bool = False  # whether the splits are those that the data set was published with

    def __len__(self) -> int:
        return len(self.paths)

    def box(self, index: int) -> Box | None:
        """The face's box in one image, if the data set gives it."""
        return None if self.boxes is None else self.boxes[index]

    def take(self, indices: Indices) -> LabelledSplit:
        """Some of the images, in the order given."""
        return replace(
            self,
            paths=tuple(self.paths[i] for i in indices),
            labels=self.labels[indices],
            votes=None if self.votes is None else self.votes[indices],
            boxes=None if self.boxes is None else tuple(self.boxes[i] for i in indices),
        )


@dataclass(frozen=True)
class Layout:
    """How a data set lies on disk."""

    name: str
    expects: str  # for error messages
    matches: Callable[[Path], bool]
    read: Callable[[Path, Split], LabelledSplit]
