"""Images of a data set, decoded once into memory: FERPlus's 28,558 in ten seconds, so no cache on disk would pay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_edge.crop import crop_and_resize
from fer_edge.data.splits import Box, Indices, LabelledSplit
from fer_edge.engines.base import IMAGE_SIZE
from fer_edge.errors import DataError, ImageError, InputError
from fer_edge.images import read_image

Pixels = npt.NDArray[np.uint8]


def decode(
    split: LabelledSplit,
    skip: Callable[[ImageError], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[Pixels, Indices]:
    """All images as one array, and which ones they are.

    Images that are small already keep their size, if all have the same; otherwise all are resized to 112 x 112. Grey
    ones keep one channel, if all are grey.

    Args:
        split: What to decode.
        skip: Told of each image that cannot be read, which is then left out; without it, the first one raises.
        progress: Told how many images are done.

    Returns:
        (N, 1 or 3, H, W), and the indices (N,) into the split.

    Raises:
        ImageError: An image is missing or damaged, or its box is outside of it; the message names it.
        DataError: None could be read.
    """
    decoded: list[Pixels] = []
    kept: list[int] = []
    for index, path in enumerate(split.paths):
        try:
            with _named(path):
                decoded.append(_small(read_image(path), split.box(index)))
            kept.append(index)
        except ImageError as error:
            if skip is None:
                raise
            skip(error)
        if progress is not None:
            progress(1)
    if not decoded:
        raise DataError(f"no image of {split.source} could be read")
    if len({image.shape[:2] for image in decoded}) > 1:
        decoded = [crop_and_resize(_rgb(image)) for image in decoded]
        decoded = [_grey_if_grey(image) for image in decoded]
    if any(image.ndim == 3 for image in decoded):
        return np.stack([_rgb(image) for image in decoded]).transpose(0, 3, 1, 2), np.array(kept, np.int64)
    return np.stack(decoded)[:, None], np.array(kept, np.int64)


def read_face(path: Path, box: Box | None = None) -> Pixels:
    """The face in an image file as a model takes it, (112, 112, 3).

    Raises:
        ImageError: The file cannot be read, or the box is outside of it; the message names it.
    """
    with _named(path):
        return crop_and_resize(read_image(path), box)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """An error of a data set's box is one of its image, and can be skipped as such."""
    try:
        yield
    except InputError as error:
        raise ImageError(f"{path}: {error}; correct the data set's list of boxes") from error


def _small(image: Pixels, box: tuple[float, float, float, float] | None) -> Pixels:
    """The face, no larger than the model's input; (H, W) if it is grey, else (H, W, 3)."""
    if box is not None or max(image.shape[:2]) > IMAGE_SIZE:
        image = crop_and_resize(image, box)
    return _grey_if_grey(image)


def _grey_if_grey(image: Pixels) -> Pixels:
    first = image[..., 0]
    grey = bool((first == image[..., 1]).all() and (first == image[..., 2]).all())
    return first.copy() if grey else image


def _rgb(image: Pixels) -> Pixels:
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
