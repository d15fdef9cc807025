"""What can follow a run besides a display: TensorBoard, and several listeners as one."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any

from fer_edge._text import one_line
from fer_edge.training.results import EpochResult, Listener


class TensorBoard:
    """Loss by step and accuracies by epoch, as TensorBoard reads them: `tensorboard --logdir RUN`.

    TensorBoard's own writer has a thread that ends with a traceback when the disk is full; this one writes each event
    at once. A log that cannot be written does not stop the training.

    Args:
        folder: For the log, which is made.
        failed: Told once why the log ended early.
    """

    def __init__(self, folder: Path, failed: Callable[[str], None]) -> None:
        self._failed = failed
        self._file: FileIO | None = None
        name = f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = _open_new(folder, name)
            self._write(file_version="brain.Event:2")
        except Exception as error:  # protobuf refuses files made for another version with a TypeError
            self._give_up(error)

    def batch(self, epoch: int, done: int, total: int, loss: float) -> None:
        self._add({"loss/of the epoch so far": loss}, epoch * total + done)

    def validating(self, epoch: int, done: int, total: int) -> None:
        pass

    def epoch(self, result: EpochResult) -> None:
        values = {
            "loss/epoch": result.loss,
            "accuracy/both heads": result.accuracy,
            "accuracy/label head": result.label_accuracy,
            "accuracy/text head": result.text_accuracy,
            "accuracy/mean of classes": result.mean_class_accuracy,
        }
        self._add({name: value for name, value in values.items() if value is not None}, result.epoch + 1)

    def close(self) -> None:
        """Close the log."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _add(self, values: Mapping[str, float], step: int) -> None:
        try:
            for name, value in values.items():
                self._write(step=step, summary={"value": [{"tag": name, "simple_value": value}]})
        except OSError as error:
            self._give_up(error)

    def _write(self, **values: Any) -> None:
        if self._file is not None:
            from tensorboard.compat.proto.event_pb2 import Event
            from tensorboard.summary.writer.record_writer import RecordWriter

            RecordWriter(self._file).write(Event(wall_time=time.time(), **values).SerializeToString())

    def _give_up(self, error: Exception) -> None:
        self.close()
        cause = error.strerror if isinstance(error, OSError) and error.strerror else one_line(str(error))
        self._failed(f"the TensorBoard log stopped: {cause}; the training goes on")


def _open_new(folder: Path, name: str) -> FileIO:
    """A file that is not there yet, unbuffered, so that no text is left to be written when a write has failed."""
    for number in range(1000):
        try:
            return FileIO(folder / f"{name}.{number}", "xb")
        except FileExistsError:
            continue
    raise FileExistsError(0, f"{folder} is full of logs of this second")


class CallbackList:
    """Tells each of some listeners."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = tuple(listeners)

    def batch(self, epoch: int, done: int, total: int, loss: float) -> None:
        for listener in self._listeners:
            listener.batch(epoch, done, total, loss)

    def validating(self, epoch: int, done: int, total: int) -> None:
        for listener in self._listeners:
            listener.validating(epoch, done, total)

    def epoch(self, result: EpochResult) -> None:
        for listener in self._listeners:
            listener.epoch(result)
