"""What a plain export leaves to its user: scaling, normalising, and deciding between the heads."""

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


class Plain:
    """A model's description, written by `prepare.py`."""

    def __init__(self, path: Path) -> None:
        self.described: dict[str, Any] = json.loads(path.read_text())
        self.labels: list[str] = self.described["labels"]
        self.mean = np.asarray(self.described["mean"], np.float32)
        self.scale = 1 / np.asarray(self.described["std"], np.float32)

    def prepare(self, face: Face) -> Floats:
        """Normalised pixels, (1, 3, 112, 112)."""
        image = Image.fromarray(face).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        scaled = (np.asarray(image) * np.float32(1 / 255) - self.mean) * self.scale
        return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])

    def decide(self, label_logits: Floats, text_logits: Floats | None) -> int:
        """The label, by the head or heads that the model decides with."""
        head = self.described["head"]
        if text_logits is None or head == "label":
            return int(label_logits.argmax())
        if head == "text":
            return int(text_logits.argmax())
        return int((_softmax(label_logits) + _softmax(text_logits)).argmax())


def _softmax(logits: Floats) -> Floats:
    exponents = np.exp(logits - logits.max())
    return exponents / exponents.sum()
