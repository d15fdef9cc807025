"""Material of the demo: a photograph, a clip of two photographs that move, and face images."""

from __future__ import annotations

import math
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import matplotlib
import numpy as np
import skimage.data
from PIL import Image

from fer_edge import FaceDetector, read_image
from fer_edge.crop import crop_and_resize
from fer_edge.errors import FerEdgeError

WIDTH, HEIGHT = 640, 480
RATE = 25  # frames per second
SECONDS = 4
FACES = 64  # images of faces


def main(photo: Path, folder: Path) -> None:
    """Write all files.

    Args:
        photo: Photograph; if it is `photo.png` in the folder and missing, scikit-image's astronaut is written there.
        folder: Folder for the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Both are in the public domain.
    astronaut = Image.fromarray(skimage.data.astronaut())
    hopper = Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")
    if photo == folder / "photo.png" and not photo.exists():
        astronaut.save(photo)
    write_clip(folder / "clip.mp4", astronaut, hopper)
    write_faces(folder / "faces", photo)


def write_clip(path: Path, left: Image.Image, right: Image.Image) -> None:
    """Write a clip: the left photograph turns and comes nearer, the right one moves in and out again."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(SECONDS * RATE):
            share = index / (SECONDS * RATE)
            wave = math.sin(math.tau * share)
            canvas = Image.new("RGB", (WIDTH, HEIGHT), "#39424e")
            size = round(HEIGHT * (1 + 0.15 * (1 - math.cos(math.tau * share))))
            turned = left.resize((size, size)).rotate(15 * wave, Image.Resampling.BICUBIC)
            canvas.paste(turned, (-110 - (size - HEIGHT) // 2, -20))
            x = round(WIDTH - 330 * min(1, 4 * share, 4 * (1 - share)))
            canvas.paste(right.resize((HEIGHT * right.width // right.height, HEIGHT)), (x, 0))
            frame = av.VideoFrame.from_ndarray(np.asarray(canvas))
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_faces(folder: Path, photo: Path) -> None:
    """Write crops around the largest face of a photograph, at several places and sizes."""
    frame = read_image(photo)
    with FaceDetector.open() as detector:
        faces = detector.detect(frame)
    if not faces:
        sys.exit(f"error: no face found in {photo}; use a photograph with one")
    x, y, width, height = faces[0].box
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(FACES):
        zoom = rng.uniform(0.85, 1.2)
        left, top = rng.uniform(-0.1, 0.1, 2) * (width, height) + (x, y)
        crop = crop_and_resize(frame, (left, top, width * zoom, height * zoom))
        Image.fromarray(crop).save(folder / f"face{index:02d}.png")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except FerEdgeError as error:
        sys.exit(f"error: {error}")
