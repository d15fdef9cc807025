"""A run as it goes, on stderr: a table of epochs above a bar; without a terminal, a line for each epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fer_edge._files import make_folder
from fer_edge.cli.output import err_console, print_note

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fer_edge.training.loop import EpochResult, Trainer
    from fer_edge.training.recipe import Recipe
    from fer_edge.training.start import Sources

SHOWN = 15  # epochs; earlier ones scroll away
LOG = "tensorboard"  # in the folder of a run


def make_run_folder(folder: Path) -> None:
    """Make the folder of a run and its log's, before images are read, which takes long.

    Raises:
        FerEdgeError: One cannot be made; a folder that is there may still not be written to.
    """
    make_folder(folder / LOG)


def prepare(recipe: Recipe, sources: Sources, folder: Path, *, skip_damaged: bool) -> tuple[Trainer, list[str]]:
    """A trainer, its images read, and why some were skipped.

    Raises:
        ImageError: One cannot be read, and they are not to be skipped.
        FerEdgeError: Data, model, features or devices cannot be used.
    """
    from fer_edge.training.run import prepare_run

    skipped: list[str] = []
    skip = (lambda error: skipped.append(str(error))) if skip_damaged else None
    with err_console().status("reading images"):
        return prepare_run(recipe, sources, folder, skip, print_note), skipped


def run_and_show(trainer: Trainer, folder: Path) -> EpochResult:
    """Train to the end, from the folder's resume point if there is one; shown and logged by the first process."""
    from fer_edge.training.listeners import Several, TensorBoard

    resumed = trainer.resume()
    if not trainer.fabric.is_global_zero or trainer.done:
        return trainer.run(Several(()))
    if resumed:
        err_console().print(f"going on in epoch {trainer.next_epoch + 1}, step {trainer.next_step + 1}")
    board = TensorBoard(folder / LOG)
    with TrainingDisplay(trainer.batches.steps, trainer.results) as display:
        best = trainer.run(Several((display, board)))
    board.close()
    return best


class TrainingDisplay:
    """Follows a run; a context manager."""

    def __init__(self, steps: int, earlier: Sequence[EpochResult] = ()) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._console = err_console()
        self._progress = Progress(*columns, console=self._console)
        self._task = self._progress.add_task("first batch", total=steps)
        self._results = list(earlier)
        self._live = Live(self._view(), console=self._console, refresh_per_second=4)

    def batch(self, epoch: int, done: int, total: int, loss: float) -> None:
        self._progress.update(self._task, description=f"epoch {epoch + 1}  loss {loss:.3f}", completed=done)

    def epoch(self, result: EpochResult) -> None:
        self._results.append(result)
        if self._console.is_terminal:
            self._live.update(self._view())
            return
        text = "" if result.text_accuracy is None else f", text {result.text_accuracy:.2f} %"
        self._console.print(
            f"epoch {result.epoch + 1}: loss {result.loss:.3f}, validation {result.accuracy:.2f} % "
            f"(mean of classes {result.mean_class_accuracy:.2f} %, label {result.label_accuracy:.2f} %{text}), "
            f"{result.seconds:.0f} s",
            soft_wrap=True,
        )

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
