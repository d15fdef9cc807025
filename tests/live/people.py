"""Frames of two people whose expressions change, from images of FERPlus on a plain background."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from tests.video.clips import Frame

# An image of FERPlus's validation split for each label: all annotators agree, and the shipped model is certain.
IMAGES = {
    "neutral": "fer0032210.png", "happiness": "fer0032216.png", "surprise": "fer0032068.png",
    "sadness": "fer0031816.png", "anger": "fer0032016.png", "fear": "fer0029739.png",
}  # fmt: skip
ORDER = tuple(IMAGES)
SIDE, WIDTH, HEIGHT = 132, 320, 240  # of a face, and of the part of the frame in which a person is


def person_frame(ferplus: Path, label: str) -> Frame:
    """Return one person with an expression, 320 x 240."""
    image = Image.open(ferplus / "FER2013Valid" / IMAGES[label]).convert("RGB")
    face = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    background = image.resize((WIDTH, HEIGHT)).filter(ImageFilter.GaussianBlur(24))
    background.paste(face, ((WIDTH - SIDE) // 2, (HEIGHT - SIDE) // 2))
    return np.asarray(background)


def acted_frames(ferplus: Path, *people: Sequence[str], each: int) -> list[Frame]:
    """Return frames with people side by side; each expression lasts some frames.

    Args:
        ferplus: Folder of FERPlus.
        people: Labels of each person, in order.
        each: Number of frames of an expression.
    """
    frames: list[Frame] = []
    for labels in zip(*people, strict=True):
        frame = np.concatenate([person_frame(ferplus, label) for label in labels], axis=1)
        frames += [frame] * each
    return frames
