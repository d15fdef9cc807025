"""Single images of an evaluation: the model's mistakes, and faces that its two heads read differently."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fer_edge.engines.base import Floats, Images
from fer_edge.evaluation.accuracy import Outputs
from fer_edge.evaluation.dataset import ImageSet, Labels
from fer_edge.manifest import Head


@dataclass(frozen=True)
class Reading:
    """A label and its probability."""

    label: str
    score: float


@dataclass(frozen=True)
class Example:
    """One image and what the model says to it."""

    image: str  # path below the data set
    true: str
    predicted: Reading
    heads: dict[Head, Reading]  # label and text; the label head alone where there is no other


def most_confident_mistakes(outputs: Outputs) -> Labels:
    """Indices of all wrong images, the highest score first."""
    wrong = np.flatnonzero(outputs.probabilities.argmax(axis=1) != outputs.true)
    return _highest_first(wrong, outputs.probabilities.max(axis=1))


def clearest_disagreements(outputs: Outputs) -> Labels:
    """Indices of all images on which the heads disagree; first those where the less sure head is surest."""
    agree = outputs.heads_agree()
    if agree is None:
        return np.zeros(0, np.int64)
    heads = outputs.by_head()
    less_sure = np.minimum(heads["label"].max(axis=1), heads["text"].max(axis=1))
    return _highest_first(np.flatnonzero(~agree), less_sure)


def examples(outputs: Outputs, indices: Labels, labels: Sequence[str], root: Path) -> list[Example]:
    """What the model says to some images.

    Args:
        outputs: Of the model.
        indices: Into them.
        labels: Of the model.
        root: The data set's folder.
    """
    by_head = outputs.by_head()
    single: list[Head] = [head for head in by_head if head != "mean"]

    def reading(probabilities: Floats) -> Reading:
        best = int(probabilities.argmax())
        return Reading(labels[best], round(float(probabilities[best]), 4))

    return [
        Example(
            _below(outputs.images.paths[i], root),
            labels[outputs.true[i]],
            reading(outputs.probabilities[i]),
            {head: reading(by_head[head][i]) for head in single},
        )
        for i in indices
    ]


def crops(images: ImageSet, indices: Labels) -> list[Images]:
    """Some images as the model sees them, each (112, 112, 3)."""
    return [crop for batch, _ in images.take(indices).batches(32) for crop in batch]


def jpeg(crop: Images) -> bytes:
    """A crop as a small file."""
    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, format="JPEG", quality=88)
    return buffer.getvalue()


def _highest_first(indices: Labels, scores: Floats) -> Labels:
    return indices[np.argsort(-scores[indices], kind="stable")]


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
