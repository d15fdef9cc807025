"""Decoding of a data set's images into memory: 10 s for FERPlus's 28,558, so a cache on disk would not pay off."""

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
    advance: Callable[[int], None] | None = None,
) -> tuple[Pixels, Indices]:
    """Decode all images of a split into one array.

    Images up to 112 x 112 keep their size if all sizes are equal; otherwise all images are resized to 112 x 112. The
    array has one channel if all images are grey.

    Args:
        split: Images to decode.
        skip: Callback that receives the error of each unreadable image, which is left out; None raises the first one.
        advance: Callback that receives the number of images just finished.

    Returns:
        Pixels (N, 1 or 3, H, W), and the indices (N,) of the decoded images in the split.

    Raises:
        ImageError: Missing or damaged image, or a box outside of its image; the message names the file.
        DataError: No readable image.
    """
    decoded: list[Pixels] = []
    indices: list[int] = []
    for index, path in enumerate(split.paths):
        try:
            with _box_errors_as_image_errors(path):
                decoded.append(_face_pixels(read_image(path), split.box(index)))
            indices.append(index)
        except ImageError as error:
            if skip is None:
                raise
            skip(error)
        if advance is not None:
            advance(1)
    if not decoded:
        raise DataError(f"no image of {split.source} could be read")
    if len({image.shape[:2] for image in decoded}) > 1:
        decoded = [crop_and_resize(_rgb(image)) for image in decoded]
        decoded = [_grey_if_grey(image) for image in decoded]
    if any(image.ndim == 3 for image in decoded):
        return np.stack([_rgb(image) for image in decoded]).transpose(0, 3, 1, 2), np.array(indices, np.int64)
    return np.stack(decoded)[:, None], np.array(indices, np.int64)


def read_face(path: Path, box: Box | None = None) -> Pixels:
    """Read the face of an image file at the model's input size, (112, 112, 3).

    Raises:
        ImageError: Unreadable file, or a box outside of the image; the message names the file.
    """
    with _box_errors_as_image_errors(path):
        return crop_and_resize(read_image(path), box)


@contextmanager
def _box_errors_as_image_errors(path: Path) -> Iterator[None]:
    """Raise an invalid box of a data set as an ImageError, so that the image can be skipped."""
    try:
        yield
    except InputError as error:
        raise ImageError(f"{path}: {error}; correct the data set's list of boxes") from error


def _face_pixels(image: Pixels, box: Box | None) -> Pixels:
    """Crop the face and limit it to the model's input size; (H, W) if it is grey, else (H, W, 3)."""
    if box is not None or max(image.shape[:2]) > IMAGE_SIZE:
        image = crop_and_resize(image, box)
    return _grey_if_grey(image)


def _grey_if_grey(image: Pixels) -> Pixels:
    first = image[..., 0]
    grey = bool((first == image[..., 1]).all() and (first == image[..., 2]).all())
    return first.copy() if grey else image


def _rgb(image: Pixels) -> Pixels:
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
