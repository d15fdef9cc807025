"""Accuracy of a runner on labelled images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fer_edge.engines.base import Runner
from fer_edge.errors import DataError
from fer_edge.evaluation.dataset import ImageSet, Labels


@dataclass(frozen=True)
class AccuracyReport:
    """Accuracies in percent."""

    images: int
    accuracy: float
    mean_class_accuracy: float  # over the classes that occur
    label_head_accuracy: float
    text_head_accuracy: float | None
    recall: dict[str, float | None]  # None: no such image
    confusion: list[list[int]]  # rows: true label, columns: predicted


def confusion_matrix(true: Labels, predicted: Labels, classes: int) -> Labels:
    """Counts, (classes, classes): row true, column predicted."""
    return np.bincount(true * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def evaluate(
    runner: Runner, images: ImageSet, labels: tuple[str, ...], progress: Callable[[int], None] | None = None
) -> AccuracyReport:
    """Run all images and count.

    Raises:
        DataError: The images have no labels.
    """
    if images.labels is None:
        raise DataError("these images have no labels; expected FERPlus's layout or one folder per label")
    decided, by_label, by_text = [], [], []
    for batch, _ in images.batches(min(32, runner.max_batch)):
        prediction = runner.infer(batch)
        decided.append(prediction.probabilities.argmax(axis=1))
        by_label.append(prediction.label_logits.argmax(axis=1))
        if prediction.text_logits is not None:
            by_text.append(prediction.text_logits.argmax(axis=1))
        if progress is not None:
            progress(len(batch))
    true = images.labels
    matrix = confusion_matrix(true, np.concatenate(decided), len(labels))
    counts = matrix.sum(axis=1)
    recall = {
        name: round(100 * int(matrix[i, i]) / int(counts[i]), 2) if counts[i] else None for i, name in enumerate(labels)
    }
    seen = [value for value in recall.values() if value is not None]

    def percent(parts: list[Labels]) -> float:
        return round(100 * float((np.concatenate(parts) == true).mean()), 3)

    return AccuracyReport(
        images=len(true),
        accuracy=percent(decided),
        mean_class_accuracy=round(sum(seen) / len(seen), 3),
        label_head_accuracy=percent(by_label),
        text_head_accuracy=percent(by_text) if by_text else None,
        recall=recall,
        confusion=matrix.tolist(),
    )
