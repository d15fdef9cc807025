"""Real face images for the demo: a photograph's face, cut out at many places and sizes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from fer_edge.crop import crop_and_resize
from fer_edge.errors import FerEdgeError
from fer_edge.images import read_image

COUNT = 64


def main(photo: Path, box: str, folder: Path) -> None:
    """Write `COUNT` crops around the box; without a photograph, scikit-image's astronaut (public domain) is used."""
    if not photo.exists() and photo == Path("demo/astronaut.png"):
        Image.fromarray(skimage.data.astronaut()).save(photo)
    frame = read_image(photo)
    x, y, width, height = (float(part) for part in box.split(","))
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(COUNT):
        zoom = rng.uniform(0.85, 1.2)
        left, top = rng.uniform(-0.1, 0.1, 2) * (width, height) + (x, y)
        crop = crop_and_resize(frame, (left, top, width * zoom, height * zoom))
        Image.fromarray(crop).save(folder / f"face{index:02d}.png")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
    except (FerEdgeError, ValueError) as error:
        sys.exit(f"error: {error}")
