"""Accuracy and calibration of a model under corruptions, and their mean.

The mean is averaged over the strengths of a kind first and over the kinds then, as in ImageNet-C (Hendrycks and
Dietterich, ICLR 2019), so that a kind with many strengths does not count more than others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_edge.boxes import Box, find_region, parse_box
from fer_edge.crop import crop_region
from fer_edge.engines.base import IMAGE_SIZE, Floats, Images, Runner
from fer_edge.evaluation.accuracy import Outputs, confusion_matrix, mean_class_accuracy
from fer_edge.evaluation.corruptions import CORRUPTIONS, Corruption, corrupt
from fer_edge.evaluation.intervals import Interval, interval_of_mean, wilson
from fer_edge.evaluation.reliability import expected_calibration_error
from fer_edge.images import read_image
from fer_edge.progress import Progress, silent
from fer_edge.results import Table

BATCH = 32  # images


@dataclass(frozen=True)
class KindScore:
    """Means over the strengths of one kind of corruption, or over the kinds. Accuracies in percent."""

    accuracy: float
    mean_class_accuracy: float
    calibration_error: float


@dataclass(frozen=True)
class CorruptionScore(KindScore):
    """Scores under one corruption."""

    name: str
    kind: str
    strength: str
    accuracy_interval: Interval


@dataclass(frozen=True)
class Robustness(KindScore):
    """Scores under every corruption, and their mean over the kinds."""

    accuracy_interval: Interval
    kinds: dict[str, KindScore]
    corruptions: tuple[CorruptionScore, ...]

    def tables(self, unchanged: KindScore) -> list[Table]:
        """Return the scores of each kind and of each corruption.

        Args:
            unchanged: Scores on undamaged images.
        """
        kinds = {"unchanged": unchanged, **self.kinds, "mean over the kinds": self}
        each = []
        for score in self.corruptions:
            accuracy, *others = _figures(score)
            each.append((score.name, accuracy, str(score.accuracy_interval).removesuffix(" %"), *others))
        return [
            Table(
                "kinds of corruption: means over their strengths",
                ("kind", "accuracy %", "UAR %", "calibration error"),
                tuple((name, *_figures(kind)) for name, kind in kinds.items()),
            ),
            Table(
                "corruptions",
                ("corruption", "accuracy %", "95 %", "UAR %", "calibration error"),
                tuple(each),
            ),
        ]


def _figures(score: KindScore) -> tuple[str, str, str]:
    return f"{score.accuracy:.2f}", f"{score.mean_class_accuracy:.2f}", f"{score.calibration_error:.3f}"


def measure_robustness(runner: Runner, outputs: Outputs, progress: Progress = silent) -> Robustness:
    """Run a model on damaged copies of labelled images.

    Args:
        runner: Runner of the model.
        outputs: Outputs for the undamaged images, which name the images and their labels.
        progress: Progress display; none by default.

    Raises:
        ImageError: Image that became unreadable in the meantime.
        KeyboardInterrupt: Ctrl-C; the message has the accuracy without corruptions.
    """
    images, count = outputs.images, len(outputs.true)
    probabilities = {corruption.name: np.empty_like(outputs.probabilities) for corruption in CORRUPTIONS}
    any_color, start = False, 0
    size = min(BATCH, runner.max_batch)
    try:
        with progress("corruptions", count * len(CORRUPTIONS)) as advance:
            for start in range(0, count, size):
                rows = range(start, min(start + size, count))
                faces = [_read_square(images.paths[row], images.boxes[row] if images.boxes else None) for row in rows]
                any_color |= any(face.ndim == 3 for face in faces)
                for corruption in CORRUPTIONS:
                    batch = np.stack([_damage(face, corruption) for face in faces])
                    probabilities[corruption.name][start : rows.stop] = runner.infer(batch).probabilities
                    advance(len(faces))
    except KeyboardInterrupt:
        accuracy = 100 * float((outputs.probabilities.argmax(axis=1) == outputs.true).mean())
        raise KeyboardInterrupt(
            f"stopped after corruptions of {start} of {count} images; accuracy without corruptions {accuracy:.2f} %"
        ) from None
    used = [corruption for corruption in CORRUPTIONS if any_color or not corruption.needs_color]
    return _summary(used, [probabilities[corruption.name] for corruption in used], outputs.true)


def _read_square(path: Path, box: Box | None) -> Images:
    """Read the square of a face at its own size, at most the model's input size; (S, S) if it is grey."""
    frame = read_image(path)
    height, width = frame.shape[:2]
    region = find_region(None if box is None else parse_box(box), width, height)
    side = min(region.side, IMAGE_SIZE)
    face = crop_region(frame, region, np.empty((side, side, 3), np.uint8))
    return face[..., 0].copy() if (face == face[..., :1]).all() else face


def _damage(face: Images, corruption: Corruption) -> Images:
    """Return a damaged face, (112, 112, 3)."""
    if corruption.kind == "colour" and face.ndim == 2:
        face = np.repeat(face[..., None], 3, axis=2)
    (damaged,) = corrupt(face[None], corruption)
    return damaged if damaged.ndim == 3 else np.repeat(damaged[..., None], 3, axis=2)


def _summary(
    corruptions: Sequence[Corruption], probabilities: Sequence[Floats], true: npt.NDArray[np.int64]
) -> Robustness:
    scores = tuple(_score(*pair, true) for pair in zip(corruptions, probabilities, strict=True))
    names = list(dict.fromkeys(score.kind for score in scores))
    kinds = {name: KindScore(*_means([score for score in scores if score.kind == name])) for name in names}
    # One mean per image: the rows of an image are not independent, the images are.
    correct = np.zeros(len(true))
    for corruption, rows in zip(corruptions, probabilities, strict=True):
        strengths = sum(score.kind == corruption.kind for score in scores)
        correct += (rows.argmax(axis=1) == true) / (strengths * len(names))
    return Robustness(*_means(list(kinds.values())), interval_of_mean(correct), kinds, scores)


def _score(corruption: Corruption, probabilities: Floats, true: npt.NDArray[np.int64]) -> CorruptionScore:
    predicted = probabilities.argmax(axis=1)
    share = float((predicted == true).mean())
    return CorruptionScore(
        round(100 * share, 3),
        mean_class_accuracy(confusion_matrix(true, predicted, probabilities.shape[1])),
        round(expected_calibration_error(probabilities, true), 4),
        corruption.name,
        corruption.kind,
        corruption.strength,
        wilson(share, len(true)),
    )


def _means(scores: Sequence[KindScore]) -> tuple[float, float, float]:
    def mean(values: Callable[[KindScore], float]) -> float:
        return sum(map(values, scores)) / len(scores)

    return (
        round(mean(lambda score: score.accuracy), 3),
        round(mean(lambda score: score.mean_class_accuracy), 3),
        round(mean(lambda score: score.calibration_error), 4),
    )
