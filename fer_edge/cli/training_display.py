"""Progress display of a training on stderr, with the remaining time, and the exit codes of a stopped one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from fer_edge.cli.output import LINE_SECONDS, duration, err_console, print_note

if TYPE_CHECKING:
    from fer_edge.training.loop import Trainer
    from fer_edge.training.results import EpochResult

SHOWN = 15  # epochs in the table on a terminal


@contextmanager
def stop_exit_codes() -> Iterator[None]:
    """End the command with 128 + signal if a signal stopped the training; only the first process prints messages.

    Raises:
        Exit: A stopped training, or, in other processes than the first, NaN or infinity.
    """
    from fer_edge.errors import NonFiniteError
    from fer_edge.training.devices import is_first_process
    from fer_edge.training.stop import TrainingStopped

    try:
        yield
    except TrainingStopped as stopped:
        if is_first_process():
            print_note(stopped)
        raise typer.Exit(128 + stopped.signal) from None
    except NonFiniteError:
        if is_first_process():
            raise
        raise typer.Exit(1) from None


class TrainingDisplay:
    """Progress display of a training; a context manager that gives the callback of the run.

    On a terminal it shows a table of epochs above a progress bar, otherwise a line for each epoch and every 30 s.

    Args:
        trainer: Trainer before its run.
        clock: Function that returns the time in seconds.
    """

    def __init__(self, trainer: Trainer, clock: Callable[[], float] = time.monotonic) -> None:
        self._epochs, self._results = trainer.config.epochs, list(trainer.results)
        self._pace = Pace(trainer.batches.steps, self._epochs, trainer.next_epoch, trainer.next_step, clock)
        self._clock, self._printed = clock, clock()
        self._console = err_console()
        # A narrow bar, so that the line fits into 80 columns.
        bar = (BarColumn(bar_width=16), MofNCompleteColumn())
        columns = (TextColumn("{task.description}"), *bar, TextColumn("{task.fields[remaining]}"))
        self._progress = Progress(*columns, console=self._console)
        self._task = self._progress.add_task("first batch", total=trainer.batches.steps, remaining="")
        self._live = Live(self._view(), console=self._console, refresh_per_second=4)

    def on_batch(self, epoch: int, done: int, total: int, loss: float) -> None:
        self._pace.batch(epoch, done)
        self._show(f"{self._name(epoch)}, loss {loss:.3f}", done, total, "steps")

    def on_validation(self, epoch: int, done: int, total: int) -> None:
        self._pace.validating(done, total)
        self._show(f"{self._name(epoch)}, validating", done, total, "images")

    def on_epoch(self, result: EpochResult) -> None:
        self._pace.epoch()
        self._results.append(result)
        if self._console.is_terminal:
            self._live.update(self._view())
            return
        self._printed = self._clock()
        text = "" if result.text_accuracy is None else f", text {result.text_accuracy:.2f} %"
        print_note(
            f"epoch {result.epoch + 1}: loss {result.loss:.3f}, validation {result.accuracy:.2f} % "
            f"(mean of classes {result.mean_class_accuracy:.2f} %, label {result.label_accuracy:.2f} %{text}), "
            f"{result.seconds:.0f} s"
        )

    def _name(self, epoch: int) -> str:
        return f"epoch {epoch + 1} of {self._epochs}"

    def _show(self, text: str, done: int, total: int, unit: str) -> None:
        epoch, run = (duration(seconds) for seconds in self._pace.remaining())
        if self._console.is_terminal:
            remaining = f"{epoch} left, run {run}"
            self._progress.update(self._task, description=text, completed=done, total=total, remaining=remaining)
            return
        now = self._clock()
        if now - self._printed >= LINE_SECONDS:
            self._printed = now
            share = 100 * done / total if total else 100
            print_note(f"{text}: {done} of {total} {unit} ({share:.0f} %), {epoch} left in the epoch, {run} in the run")

    def _view(self) -> Group:
        table = Table("epoch", "loss", "validation %", "classes %", "label %", "text %", "s")
        best = max((result.accuracy for result in self._results), default=None)
        for result in self._results[-SHOWN:]:
            text = "-" if result.text_accuracy is None else f"{result.text_accuracy:.2f}"
            cells = (str(result.epoch + 1), f"{result.loss:.3f}", f"{result.accuracy:.2f}")
            more = (f"{result.mean_class_accuracy:.2f}", f"{result.label_accuracy:.2f}", text, f"{result.seconds:.0f}")
            table.add_row(*cells, *more, style="bold" if result.accuracy == best else None)
        return Group(table, self._progress) if self._results else Group(self._progress)

    def __enter__(self) -> TrainingDisplay:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


class Pace:
    """Remaining times of a run, from the speed of the current epoch and the length of the last validation.

    Args:
        steps: Number of steps of an epoch.
        epochs: Number of epochs of the run; with early stopping, the largest.
        epoch: Index of the current epoch, from 0.
        done: Number of its steps that an earlier process finished.
        clock: Function that returns seconds; `time.monotonic` by default.
    """

    def __init__(
        self, steps: int, epochs: int, epoch: int = 0, done: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._steps, self._epochs, self._clock = steps, epochs, clock
        self._epoch = epoch
        self._start = (done, clock())  # finished steps and time at which measuring began
        self._step_seconds = self._validation_seconds = self._epoch_remaining = 0.0
        self._first_step_done = False
        self._validation_start: float | None = None

    def batch(self, epoch: int, done: int) -> None:
        """Record a finished step. The first one is not timed: it includes compilation and cold caches.

        Args:
            epoch: Index of the epoch.
            done: Number of its finished steps.
        """
        now = self._clock()
        self._epoch = epoch
        start, start_time = self._start
        if done > start:
            self._step_seconds = (now - start_time) / (done - start)
        if not self._first_step_done:
            self._start, self._first_step_done = (done, now), True
        self._validation_start = None
        self._epoch_remaining = self._step_seconds * (self._steps - done) + self._validation_seconds

    def validating(self, done: int, total: int) -> None:
        """Record validated images.

        Args:
            done: Number of validated images.
            total: Number of validation images.
        """
        now = self._clock()
        if self._validation_start is None:
            self._validation_start = now
        if done:
            self._epoch_remaining = (now - self._validation_start) / done * (total - done)

    def epoch(self) -> None:
        """Record the end of an epoch."""
        now = self._clock()
        if self._validation_start is not None:
            self._validation_seconds = now - self._validation_start
        self._start, self._validation_start, self._epoch_remaining = (0, now), None, 0.0

    def remaining(self) -> tuple[int, int]:
        """Return the remaining seconds of the epoch and of the run."""
        later_epochs = self._epochs - self._epoch - 1
        epoch_seconds = self._step_seconds * self._steps + self._validation_seconds
        return round(self._epoch_remaining), round(self._epoch_remaining + later_epochs * epoch_seconds)
