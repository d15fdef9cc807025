"""Result of an epoch, and the protocol of what follows a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class EpochResult:
    """What one epoch came to; accuracies in percent, of the averaged weights."""

    epoch: int
    loss: float
    label_accuracy: float
    text_accuracy: float | None
    accuracy: float  # of both heads' mean; the label head's, where it is alone
    mean_class_accuracy: float  # the same, over the classes that occur
    seconds: float
    only_label: str | None = None  # predicted for every validation image, though these have several labels


class Listener(Protocol):
    """What follows a run, a progress display for one."""

    def batch(self, epoch: int, done: int, total: int, loss: float) -> None:
        """A batch has been learned from; `loss` is the mean of the epoch so far."""

    def validating(self, epoch: int, done: int, total: int) -> None:
        """Validation images of this process have been predicted."""

    def epoch(self, result: EpochResult) -> None:
        """An epoch is over, its resume point written."""
