"""What can follow a run besides a display: TensorBoard, and several listeners as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from fer_edge.training.loop import EpochResult, Listener


class TensorBoard:
    """Loss by step and accuracies by epoch, as TensorBoard reads them: `tensorboard --logdir RUN`."""

    def __init__(self, folder: Path) -> None:
        self._writer = SummaryWriter(folder)

    def batch(self, epoch: int, done: int, total: int, loss: float) -> None:
        self._writer.add_scalar("loss/of the epoch so far", loss, epoch * total + done)

    def epoch(self, result: EpochResult) -> None:
        values = {
            "loss/epoch": result.loss,
            "accuracy/both heads": result.accuracy,
            "accuracy/label head": result.label_accuracy,
            "accuracy/text head": result.text_accuracy,
            "accuracy/mean of classes": result.mean_class_accuracy,
        }
        for name, value in values.items():
            if value is not None:
                self._writer.add_scalar(name, value, result.epoch + 1)
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


class Several:
    """Tells each of some listeners."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = tuple(listeners)

    def batch(self, epoch: int, done: int, total: int, loss: float) -> None:
        for listener in self._listeners:
            listener.batch(epoch, done, total, loss)

    def epoch(self, result: EpochResult) -> None:
        for listener in self._listeners:
            listener.epoch(result)
