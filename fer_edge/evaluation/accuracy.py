"""Accuracy of a model on labelled images: overall, per class, per head, and with abstention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_edge.choices import Head
from fer_edge.data.images import ImageSet, Labels
from fer_edge.engines.base import Floats, Prediction, Runner
from fer_edge.engines.outputs import join
from fer_edge.errors import DataError, ImageError
from fer_edge.evaluation.intervals import Interval, mean_of_shares, wilson
from fer_edge.evaluation.reliability import ReliabilityBin, expected_calibration_error, reliability
from fer_edge.evaluation.selective import SelectiveScore, percent, percent_or_none, selective_scores
from fer_edge.progress import Advance, ignore


@dataclass(frozen=True)
class HeadScore:
    """Accuracy of one head, or of the mean of both. Accuracies in percent."""

    accuracy: float
    mean_class_accuracy: float
    calibration_error: float
    reliability: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class ClassScore:
    """Scores of one label, in percent; None if the denominator is 0."""

    images: int
    recall: float | None
    recall_interval: Interval | None
    precision: float | None
    f1: float | None


@dataclass(frozen=True)
class AccuracyReport:
    """Accuracies in percent, with 95 % confidence intervals."""

    images: int
    accuracy: float
    accuracy_interval: Interval
    mean_class_accuracy: float  # mean recall of the classes that occur: balanced accuracy, UAR
    mean_class_interval: Interval
    mean_f1: float  # mean over the classes that occur: macro F1
    calibration_error: float  # from 0 to 1, see `expected_calibration_error`
    heads: dict[Head, HeadScore]  # "label" alone for a model without a text head
    heads_agree: float | None  # share of images with equal top-1 labels of both heads; None: one head
    accuracy_agreeing: float | None  # on these images; None: no such image
    accuracy_disagreeing: float | None  # on the other images; None: no such image
    selective: tuple[SelectiveScore, ...]
    recall: dict[str, float | None]  # None: no image with this label
    classes: dict[str, ClassScore]
    confusion: list[list[int]]  # rows: true label, columns: predicted
    skipped: tuple[str, ...]  # errors of the images that could not be read


@dataclass(frozen=True)
class Outputs:
    """Outputs of a model for a labelled image set."""

    true: Labels  # (N,)
    label_logits: Floats  # (N, classes)
    text_logits: Floats | None
    probabilities: Floats
    images: ImageSet  # the N readable images
    skipped: tuple[str, ...]  # errors of the other images

    def by_head(self) -> dict[Head, Floats]:
        """Return the probabilities, (N, classes), of each head and, for two heads, of their mean."""
        label = softmax(self.label_logits)
        if self.text_logits is None:
            return {"label": label}
        text = softmax(self.text_logits)
        return {"label": label, "text": text, "mean": (label + text) * np.float32(0.5)}

    def heads_agree(self) -> npt.NDArray[np.bool_] | None:
        """Return whether both heads predict the same label, (N,); None for a model with one head."""
        if self.text_logits is None:
            return None
        return self.label_logits.argmax(axis=1) == self.text_logits.argmax(axis=1)


def softmax(logits: Floats) -> Floats:
    """Compute the softmax over the last axis, in float32."""
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def confusion_matrix(true: Labels, predicted: Labels, classes: int) -> Labels:
    """Count pairs of labels, (classes, classes): row true, column predicted."""
    return np.bincount(true * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def run_all(runner: Runner, images: ImageSet, advance: Advance = ignore, *, skip_damaged: bool = False) -> Outputs:
    """Run a model on every image of a labelled set.

    Args:
        runner: Runner of the model.
        images: Labelled images.
        advance: Callback that receives the number of images just finished.
        skip_damaged: Whether to skip unreadable images; their errors are in `Outputs.skipped`.

    Raises:
        DataError: Unlabelled images, or no readable image.
        ImageError: An unreadable image, unless skipped.
        KeyboardInterrupt: Ctrl-C; the message has the number of finished images and their accuracy.
    """
    labels = images.required_labels
    damaged: dict[int, str] = {}
    predictions: list[Prediction] = []
    correct = 0

    def skip(index: int, error: ImageError) -> None:
        damaged[index] = str(error)
        advance(1)

    try:
        for batch, true in images.batches(min(32, runner.max_batch), skip if skip_damaged else None):
            predictions.append(runner.infer(batch))
            correct += int((predictions[-1].probabilities.argmax(axis=1) == true).sum())
            advance(len(batch))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_interruption(predictions, correct, len(images))) from None
    if not predictions:
        first = f"no image could be read; the first: {damaged[0]}" if damaged else "no images to evaluate on"
        raise DataError(first)
    readable = np.array([index for index in range(len(images)) if index not in damaged])
    return Outputs(labels[readable], *join(predictions), images.take(readable), tuple(damaged.values()))


def score(outputs: Outputs, labels: tuple[str, ...]) -> AccuracyReport:
    """Score the outputs of a model.

    Args:
        outputs: Outputs from `run_all`.
        labels: Labels of the model.
    """
    true, predicted = outputs.true, outputs.probabilities.argmax(axis=1)
    correct, agree = predicted == true, outputs.heads_agree()
    matrix = confusion_matrix(true, predicted, len(labels))
    classes = class_scores(matrix, labels)
    occurring = [class_score for class_score in classes.values() if class_score.images]
    return AccuracyReport(
        images=len(true),
        accuracy=percent(correct),
        accuracy_interval=wilson(float(correct.mean()), len(true)),
        mean_class_accuracy=mean_class_accuracy(matrix),
        mean_class_interval=mean_of_shares(
            [(matrix[i, i] / row.sum(), int(row.sum())) for i, row in enumerate(matrix) if row.any()]
        ),
        mean_f1=round(sum(class_score.f1 or 0.0 for class_score in occurring) / len(occurring), 3),
        calibration_error=_calibration_error(outputs.probabilities, true),
        heads={head: _head_score(probabilities, true) for head, probabilities in outputs.by_head().items()},
        heads_agree=None if agree is None else percent(agree),
        accuracy_agreeing=None if agree is None else percent_or_none(correct[agree]),
        accuracy_disagreeing=None if agree is None else percent_or_none(correct[~agree]),
        selective=selective_scores(outputs.probabilities, correct, agree),
        recall={name: class_score.recall for name, class_score in classes.items()},
        classes=classes,
        confusion=matrix.tolist(),
        skipped=outputs.skipped,
    )


def class_scores(matrix: Labels, labels: tuple[str, ...]) -> dict[str, ClassScore]:
    """Compute recall, precision and F1 of every label.

    Args:
        matrix: Confusion matrix, (classes, classes): row true, column predicted.
        labels: Names of the classes.
    """
    scores = {}
    for index, name in enumerate(labels):
        hits, true, predicted = int(matrix[index, index]), int(matrix[index].sum()), int(matrix[:, index].sum())
        scores[name] = ClassScore(
            true,
            _percent(hits, true),
            wilson(hits / true, true) if true else None,
            _percent(hits, predicted),
            _percent(2 * hits, true + predicted) if true else None,
        )
    return scores


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 2) if whole else None


def _head_score(probabilities: Floats, true: Labels) -> HeadScore:
    predicted = probabilities.argmax(axis=1)
    return HeadScore(
        percent(predicted == true),
        mean_class_accuracy(confusion_matrix(true, predicted, probabilities.shape[1])),
        _calibration_error(probabilities, true),
        reliability(probabilities, true),
    )


def mean_class_accuracy(matrix: Labels) -> float:
    """Return the mean recall of the classes that occur, in percent, of a confusion matrix."""
    recall = [row[index] / row.sum() if row.any() else math.nan for index, row in enumerate(matrix)]
    return round(100 * float(np.nanmean(recall)), 3)


def _calibration_error(probabilities: Floats, true: Labels) -> float:
    return round(expected_calibration_error(probabilities, true), 4)


def _interruption(predictions: Sequence[Prediction], correct: int, images: int) -> str:
    """Return the message of an interrupted evaluation."""
    done = sum(len(prediction.probabilities) for prediction in predictions)
    accuracy = f"; accuracy {100 * correct / done:.2f} % (95 %: {wilson(correct / done, done)})" if done else ""
    return f"stopped after {done} of {images} images{accuracy}"
