"""Images of a data set as one array in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fer_edge.errors import DataError


def load_grey(paths: Sequence[Path]) -> npt.NDArray[np.uint8]:
    """Decode grey images of one size to (N, H, W).

    Raises:
        DataError: An image is missing, damaged or of another size than the first.
    """
    images: npt.NDArray[np.uint8] | None = None
    for index, path in enumerate(paths):
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("L"))
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"cannot read {path}: {error}") from error
        if images is None:
            images = np.empty((len(paths), *pixels.shape), np.uint8)
        if pixels.shape != images.shape[1:]:
            raise DataError(f"{path} is {pixels.shape[1]}x{pixels.shape[0]}; the first image was of another size")
        images[index] = pixels
    if images is None:
        raise DataError("no images to load")
    return images
