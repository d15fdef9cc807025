"""Results of a training, and the callback protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fer_edge.results import Result, plain_data


@dataclass(frozen=True)
class EpochResult:
    """Figures of one epoch; accuracies in percent, of the averaged weights."""

    epoch: int  # counted from 0
    loss: float
    label_accuracy: float
    text_accuracy: float | None
    accuracy: float  # of the mean of both heads; of the label head for a model without a text head
    mean_class_accuracy: float  # mean recall of the classes that occur
    seconds: float
    only_label: str | None = None  # label predicted for all validation images, although they have several labels


class Callback(Protocol):
    """Receiver of a run's events, such as a progress display."""

    def on_batch(self, epoch: int, done: int, total: int, loss: float) -> None:
        """Receive the number of finished steps of an epoch, and the mean loss of these steps."""

    def on_validation(self, epoch: int, done: int, total: int) -> None:
        """Receive the number of validated images of this process."""

    def on_epoch(self, result: EpochResult) -> None:
        """Receive the result of an epoch; its resume point is written."""


@dataclass(frozen=True)
class TrainingResult(Result):
    """Result of a finished training."""

    checkpoint: Path  # of the best epoch
    best: EpochResult
    epochs: tuple[EpochResult, ...]
    skipped: tuple[str, ...]  # reason for each damaged image that was skipped
    left_out: tuple[str, ...]  # one line for each kind of images that were left out
    validation_images: int
    text_source: str

    def notes(self) -> Sequence[str]:
        return (
            f"{self.checkpoint}: {self.best.accuracy:.2f} % of {self.validation_images} validation images after epoch "
            f"{self.best.epoch + 1}, text features {self.text_source}",
        )


@dataclass(frozen=True)
class DryRunResult(Result):
    """Result of a dry run: the loss of one step, and the length of the run."""

    loss: float
    steps: int  # of each epoch
    epochs: int

    def notes(self) -> Sequence[str]:
        return (
            f"dry run passed: loss {self.loss:.3f}; {self.epochs} epochs of {self.steps} steps; nothing was written",
        )

    def to_dict(self) -> dict[str, Any]:
        return plain_data({"dry_run": True, **vars(self)})
