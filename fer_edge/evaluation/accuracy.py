"""Accuracy of a runner on labelled images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_edge.engines.base import Floats, Prediction, Runner
from fer_edge.errors import DataError, ImageError
from fer_edge.evaluation.dataset import ImageSet, Labels
from fer_edge.evaluation.intervals import Interval, mean_of_shares, wilson
from fer_edge.evaluation.reliability import ReliabilityBin, expected_calibration_error, reliability
from fer_edge.evaluation.selective import Deferral, deferrals, percent, percent_or_none
from fer_edge.manifest import Head


@dataclass(frozen=True)
class HeadScore:
    """What one head, or the mean of both, would reach if it decided. Accuracies in percent."""

    accuracy: float
    mean_class_accuracy: float
    calibration_error: float
    reliability: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class ClassScore:
    """What a model does with the images of one label. Figures in percent; None where there is nothing to divide by."""

    images: int
    recall: float | None
    recall_interval: Interval | None
    precision: float | None
    f1: float | None


@dataclass(frozen=True)
class AccuracyReport:
    """Accuracies in percent, intervals of 95 % confidence for other images of the same kind."""

    images: int
    accuracy: float
    accuracy_interval: Interval
    mean_class_accuracy: float  # mean recall of the classes that occur: balanced accuracy, UAR
    mean_class_interval: Interval
    mean_f1: float  # over the classes that occur: macro F1
    calibration_error: float  # from 0 to 1, see `expected_calibration_error`
    heads: dict[Head, HeadScore]  # "label" alone where there is no text head
    heads_agree: float | None  # share of images on which both heads decide alike; None: there is no text head
    accuracy_agreeing: float | None  # where they do; None: nowhere
    accuracy_disagreeing: float | None
    deferrals: tuple[Deferral, ...]
    recall: dict[str, float | None]  # None: no such image
    classes: dict[str, ClassScore]
    confusion: list[list[int]]  # rows: true label, columns: predicted
    skipped: tuple[str, ...]  # why images were left out


@dataclass(frozen=True)
class Outputs:
    """What a model gave for a labelled set."""

    true: Labels  # (N,)
    label_logits: Floats  # (N, classes)
    text_logits: Floats | None
    probabilities: Floats
    images: ImageSet  # the N that could be read
    skipped: tuple[str, ...]  # why the others could not

    def by_head(self) -> dict[Head, Floats]:
        """Probabilities (N, classes) of each head and, where there are two, of their mean."""
        label = softmax(self.label_logits)
        if self.text_logits is None:
            return {"label": label}
        text = softmax(self.text_logits)
        return {"label": label, "text": text, "mean": (label + text) * np.float32(0.5)}

    def heads_agree(self) -> npt.NDArray[np.bool_] | None:
        """(N,), whether both heads decide alike; None: there is one head."""
        if self.text_logits is None:
            return None
        return self.label_logits.argmax(axis=1) == self.text_logits.argmax(axis=1)


def softmax(logits: Floats) -> Floats:
    """Over the last axis, in float32."""
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def confusion_matrix(true: Labels, predicted: Labels, classes: int) -> Labels:
    """Counts, (classes, classes): row true, column predicted."""
    return np.bincount(true * classes + predicted, minlength=classes * classes).reshape(classes, classes)


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
    return score(run_all(runner, images, progress, skip_damaged=skip_damaged), labels)


def score(outputs: Outputs, labels: tuple[str, ...]) -> AccuracyReport:
    """Count what `run_all` gave.

    Args:
        outputs: Of the model.
        labels: Of the model.
    """
    true, decided = outputs.true, outputs.probabilities.argmax(axis=1)
    right, agree = decided == true, outputs.heads_agree()
    matrix = confusion_matrix(true, decided, len(labels))
    classes = class_scores(matrix, labels)
    occurring = [found for found in classes.values() if found.images]
    return AccuracyReport(
        images=len(true),
        accuracy=percent(right),
        accuracy_interval=wilson(float(right.mean()), len(true)),
        mean_class_accuracy=_mean_class_accuracy(matrix),
        mean_class_interval=mean_of_shares(
            [(matrix[i, i] / row.sum(), int(row.sum())) for i, row in enumerate(matrix) if row.any()]
        ),
        mean_f1=round(sum(found.f1 or 0.0 for found in occurring) / len(occurring), 3),
        calibration_error=_calibration_error(outputs.probabilities, true),
        heads={head: _head_score(found, true) for head, found in outputs.by_head().items()},
        heads_agree=None if agree is None else percent(agree),
        accuracy_agreeing=None if agree is None else percent_or_none(right[agree]),
        accuracy_disagreeing=None if agree is None else percent_or_none(right[~agree]),
        deferrals=deferrals(outputs.probabilities, right, agree),
        recall={name: found.recall for name, found in classes.items()},
        classes=classes,
        confusion=matrix.tolist(),
        skipped=outputs.skipped,
    )


def class_scores(matrix: Labels, labels: tuple[str, ...]) -> dict[str, ClassScore]:
    """Recall, precision and F1 of every label.

    Args:
        matrix: Counts, (classes, classes): row true, column predicted.
        labels: Names of the classes.
    """
    scores = {}
    for index, name in enumerate(labels):
        right, true, given = int(matrix[index, index]), int(matrix[index].sum()), int(matrix[:, index].sum())
        scores[name] = ClassScore(
            true,
            _percent(right, true),
            wilson(right / true, true) if true else None,
            _percent(right, given),
            _percent(2 * right, true + given) if true else None,
        )
    return scores


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 2) if whole else None


def _head_score(probabilities: Floats, true: Labels) -> HeadScore:
    decided = probabilities.argmax(axis=1)
    return HeadScore(
        percent(decided == true),
        _mean_class_accuracy(confusion_matrix(true, decided, probabilities.shape[1])),
        _calibration_error(probabilities, true),
        reliability(probabilities, true),
    )


def _recall(matrix: Labels) -> list[float]:
    """Of each class, 0 to 1; NaN where no image has it."""
    return [row[index] / row.sum() if row.any() else math.nan for index, row in enumerate(matrix)]


def _mean_class_accuracy(matrix: Labels) -> float:
    return round(100 * float(np.nanmean(_recall(matrix))), 3)


def _calibration_error(probabilities: Floats, true: Labels) -> float:
    return round(expected_calibration_error(probabilities, true), 4)


def _stopped(predictions: Sequence[Prediction], right: int, images: int) -> str:
    done = sum(len(prediction.probabilities) for prediction in predictions)
    so_far = f"; of them {100 * right / done:.2f} % right (95 %: {wilson(right / done, done)})" if done else ""
    return f"stopped after {done} of {images} images{so_far}"


def run_all(
    runner: Runner, images: ImageSet, progress: Callable[[int], None] | None = None, *, skip_damaged: bool = False
) -> Outputs:
    """Outputs for every image of a labelled set; arguments and errors as of `evaluate`.

    Raises:
        KeyboardInterrupt: Ctrl-C; says how many images were done, and how many of them were right.
    """
    if images.labels is None:
        raise DataError(images.unlabelled)
    damaged: dict[int, str] = {}
    predictions: list[Prediction] = []
    right = 0

    def skip(index: int, error: ImageError) -> None:
        damaged[index] = str(error)
        if progress is not None:
            progress(1)

    try:
        for batch, true in images.batches(min(32, runner.max_batch), skip if skip_damaged else None):
            predictions.append(runner.infer(batch))
            right += int((predictions[-1].probabilities.argmax(axis=1) == true).sum())
            if progress is not None:
                progress(len(batch))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_stopped(predictions, right, len(images))) from None
    if not predictions:
        first = f"no image could be read; the first: {damaged[0]}" if damaged else "no images to evaluate on"
        raise DataError(first)
    text = [prediction.text_logits for prediction in predictions if prediction.text_logits is not None]
    read = images.take(np.array([index for index in range(len(images)) if index not in damaged]))
    assert read.labels is not None
    return Outputs(
        read.labels,
        np.concatenate([prediction.label_logits for prediction in predictions]),
        np.concatenate(text) if text else None,
        np.concatenate([prediction.probabilities for prediction in predictions]),
        read,
        tuple(damaged.values()),
    )
