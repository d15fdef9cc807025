"""Example images of an evaluation: errors of the model, and images on which its two heads disagree."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fer_edge.choices import Head
from fer_edge.data.images import ImageSet, Labels
from fer_edge.engines.base import Floats, Images
from fer_edge.evaluation.accuracy import Outputs


@dataclass(frozen=True)
class Reading:
    """Top-1 label and its probability."""

    label: str
    score: float


@dataclass(frozen=True)
class Example:
    """One image with its true and predicted labels."""

    image: str  # path relative to the data set
    true: str
    predicted: Reading
    heads: dict[Head, Reading]  # prediction of each head: label and, if the model has it, text


def most_confident_mistakes(outputs: Outputs) -> Labels:
    """Return the indices of all misclassified images, in descending order of score."""
    wrong = np.flatnonzero(outputs.probabilities.argmax(axis=1) != outputs.true)
    return _by_score(wrong, outputs.probabilities.max(axis=1))


def clearest_disagreements(outputs: Outputs) -> Labels:
    """Return the indices of all images on which the heads disagree, in descending order of the smaller score."""
    agree = outputs.heads_agree()
    if agree is None:
        return np.zeros(0, np.int64)
    heads = outputs.by_head()
    smaller_score = np.minimum(heads["label"].max(axis=1), heads["text"].max(axis=1))
    return _by_score(np.flatnonzero(~agree), smaller_score)


def examples(outputs: Outputs, indices: Labels, labels: Sequence[str], root: Path) -> list[Example]:
    """Describe some images of an evaluation.

    Args:
        outputs: Outputs of the model.
        indices: Indices of the images.
        labels: Labels of the model.
        root: Folder of the data set.
    """
    by_head = outputs.by_head()
    single: list[Head] = [head for head in by_head if head != "mean"]

    def reading(probabilities: Floats) -> Reading:
        best = int(probabilities.argmax())
        return Reading(labels[best], round(float(probabilities[best]), 4))

    return [
        Example(
            _relative(outputs.images.paths[i], root),
            labels[outputs.true[i]],
            reading(outputs.probabilities[i]),
            {head: reading(by_head[head][i]) for head in single},
        )
        for i in indices
    ]


def crops(images: ImageSet, indices: Labels) -> list[Images]:
    """Return some images as model inputs, each (112, 112, 3)."""
    return [crop for batch, _ in images.take(indices).batches(32) for crop in batch]


def jpeg(crop: Images) -> bytes:
    """Encode a crop as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, format="JPEG", quality=88)
    return buffer.getvalue()


def _by_score(indices: Labels, scores: Floats) -> Labels:
    """Sort indices by descending score; equal scores keep their order."""
    return indices[np.argsort(-scores[indices], kind="stable")]


def _relative(path: Path, root: Path) -> str:
    """Return the path relative to a folder, or only its name outside of the folder."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
