"""Steps around a plain export that its user has to write: scaling, normalisation, and combining the heads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.peers.protocol import Face

SIZE = 112
Floats = npt.NDArray[np.float32]


class PlainModel:
    """Preprocessing and postprocessing of a plain export.

    Args:
        path: Description of the model, written by `prepare.py`.
    """

    def __init__(self, path: Path) -> None:
        description: dict[str, Any] = json.loads(path.read_text())
        self.labels: list[str] = description["labels"]
        self.head: str = description["head"]
        self.mean = np.asarray(description["mean"], np.float32)
        self.scale = 1 / np.asarray(description["std"], np.float32)

    def prepare(self, face: Face) -> Floats:
        """Return normalised pixels, shape (1, 3, 112, 112)."""
        image = Image.fromarray(face).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        scaled = (np.asarray(image) * np.float32(1 / 255) - self.mean) * self.scale
        return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])

    def predict(self, label_logits: Floats, text_logits: Floats | None) -> int:
        """Return the index of the top-1 label of the model's head or heads."""
        if text_logits is None or self.head == "label":
            return int(label_logits.argmax())
        if self.head == "text":
            return int(text_logits.argmax())
        return int((_softmax(label_logits) + _softmax(text_logits)).argmax())


def _softmax(logits: Floats) -> Floats:
    exponents = np.exp(logits - logits.max())
    return exponents / exponents.sum()
