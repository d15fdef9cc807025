"""Accuracy of a runner on labelled images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_edge.engines.base import Floats, Runner
from fer_edge.errors import DataError, ImageError
from fer_edge.evaluation.dataset import ImageSet, Labels


@dataclass(frozen=True)
class AccuracyReport:
    """Accuracies in percent."""

    images: int
    accuracy: float
    mean_class_accuracy: float  # over the classes that occur
    label_head_accuracy: float
    text_head_accuracy: float | None
    heads_agree: float | None  # share of images on which both heads decide alike; None: there is no text head
    accuracy_agreeing: float | None  # where they do; None: nowhere
    accuracy_disagreeing: float | None
    calibration_error: float  # from 0 to 1, see `expected_calibration_error`
    recall: dict[str, float | None]  # None: no such image
    confusion: list[list[int]]  # rows: true label, columns: predicted
    skipped: tuple[str, ...]  # why images were left out


def confusion_matrix(true: Labels, predicted: Labels, classes: int) -> Labels:
    """Counts, (classes, classes): row true, column predicted."""
    return np.bincount(true * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def expected_calibration_error(probabilities: Floats, true: Labels, bins: int = 15) -> float:
    """Mean distance of confidence and accuracy, over bins of equal width (Guo et al., ICML 2017).

    Args:
        probabilities: (N, classes).
        true: (N,).
        bins: How many.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == true
    bin_of = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(bin_of, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(true))


def evaluate(
    runner: Runner,
    images: ImageSet,
    labels: tuple[str, ...],
    progress: Callable[[int], None] | None = None,
    *,
    skip_damaged: bool = False,
) -> AccuracyReport:
    """Run all images and count.

    Args:
        runner: The model.
        images: Labelled ones.
        labels: Of the model.
        progress: Told how many images are done.
        skip_damaged: Leave out images that cannot be read, and name them in the report.

    Raises:
        DataError: The images have no labels, or none could be read.
        ImageError: An image cannot be read and is not to be skipped.
    """
    outputs = run_all(runner, images, progress, skip_damaged=skip_damaged)
    true, decided = outputs.true, outputs.probabilities.argmax(axis=1)
    right = decided == true
    by_label = outputs.label_logits.argmax(axis=1)
    by_text = None if outputs.text_logits is None else outputs.text_logits.argmax(axis=1)
    agree = None if by_text is None else by_label == by_text
    matrix = confusion_matrix(true, decided, len(labels))
    counts = matrix.sum(axis=1)
    recall = {
        name: round(100 * int(matrix[i, i]) / int(counts[i]), 2) if counts[i] else None for i, name in enumerate(labels)
    }
    seen = [value for value in recall.values() if value is not None]
    return AccuracyReport(
        images=len(true),
        accuracy=_percent(right),
        mean_class_accuracy=round(sum(seen) / len(seen), 3),
        label_head_accuracy=_percent(by_label == true),
        text_head_accuracy=None if by_text is None else _percent(by_text == true),
        heads_agree=None if agree is None else _percent(agree),
        accuracy_agreeing=None if agree is None or not agree.any() else _percent(right[agree]),
        accuracy_disagreeing=None if agree is None or agree.all() else _percent(right[~agree]),
        calibration_error=round(expected_calibration_error(outputs.probabilities, true), 4),
        recall=recall,
        confusion=matrix.tolist(),
        skipped=outputs.skipped,
    )


@dataclass(frozen=True)
class Outputs:
    """What a model gave for a labelled set."""

    true: Labels  # (N,)
    label_logits: Floats  # (N, classes)
    text_logits: Floats | None
    probabilities: Floats
    skipped: tuple[str, ...]


def run_all(
    runner: Runner, images: ImageSet, progress: Callable[[int], None] | None = None, *, skip_damaged: bool = False
) -> Outputs:
    """Outputs for every image of a labelled set; arguments and errors as of `evaluate`."""
    if images.labels is None:
        raise DataError("these images have no labels; expected FERPlus's layout or one folder per label")
    skipped: list[str] = []
    predictions, true = [], []

    def skip(error: ImageError) -> None:
        skipped.append(str(error))
        if progress is not None:
            progress(1)

    for batch, labels in images.batches(min(32, runner.max_batch), skip if skip_damaged else None):
        predictions.append(runner.infer(batch))
        assert labels is not None
        true.append(labels)
        if progress is not None:
            progress(len(batch))
    if not predictions:
        raise DataError(f"no image could be read; the first: {skipped[0]}" if skipped else "no images to evaluate on")
    text = [prediction.text_logits for prediction in predictions if prediction.text_logits is not None]
    return Outputs(
        np.concatenate(true),
        np.concatenate([prediction.label_logits for prediction in predictions]),
        np.concatenate(text) if text else None,
        np.concatenate([prediction.probabilities for prediction in predictions]),
        tuple(skipped),
    )


def _percent(right: npt.NDArray[np.bool_]) -> float:
    return round(100 * float(right.mean()), 3)
