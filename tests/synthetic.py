"""Synthetic data sets in the official layouts: the brightness depends on the class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fer_edge.labels import RAFDB

SFEW_CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")


def face(path: Path, label: int, seed: int, size: int = 48, color: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    shape = (size, size, 3) if color else (size, size)
    Image.fromarray(np.clip(rng.normal(30 + 70 * (label % 3), 20, shape), 0, 255).astype(np.uint8)).save(path)


def smooth_frame(seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return a smooth random image of the size of a face crop."""
    noise = np.random.default_rng(seed).integers(0, 256, (18, 18, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((112, 112), Image.Resampling.BICUBIC))


def make_ferplus(root: Path, train: int = 48, valid: int = 12) -> Path:
    """Write a data set with three of the eight classes and nine votes per image."""
    for folder, count in (("FER2013Train", train), ("FER2013Valid", valid)):
        lines = []
        for index in range(count):
            face(root / folder / f"{index}.png", index % 3, index + (1000 if "Valid" in folder else 0))
            votes = [0] * 10
            votes[index % 3] = 9
            lines.append(f'{index}.png,"(0, 0, 48, 48)",' + ",".join(map(str, votes)))
        (root / folder / "label.csv").write_text("\n".join(lines) + "\n")
    return root


def make_rafdb(root: Path, train: int = 14, test: int = 7) -> Path:
    """Write a data set with seven classes: aligned crops, and original images with boxes."""
    basic = root / "basic"
    lines = []
    for split, count in (("train", train), ("test", test)):
        for index in range(count):
            name = f"{split}_{index + 1:05d}"
            seed = index + (1000 if split == "test" else 0)
            face(basic / "Image" / "aligned" / f"{name}_aligned.jpg", index % 7, seed, 100, color=True)
            face(basic / "Image" / "original" / f"{name}.jpg", index % 7, seed, 160, color=True)
            box = basic / "Annotation" / "boundingbox" / f"{name}_boundingbox.txt"
            box.parent.mkdir(parents=True, exist_ok=True)
            box.write_text("10 20 130 140\n")
            lines.append(f"{name}.jpg {index % len(RAFDB) + 1}")
    (basic / "EmoLabel").mkdir()
    (basic / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines) + "\n")
    return root


def make_sfew(root: Path, each: int = 2) -> Path:
    for split in ("Train", "Val"):
        for label, name in enumerate(SFEW_CLASSES):
            for index in range(each):
                seed = index + (1000 if split == "Val" else 0)
                face(root / split / name / f"{index}.png", label, seed, 120, color=True)
    return root
