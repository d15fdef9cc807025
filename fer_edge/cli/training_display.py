"""A run as it goes, on stderr: a table of epochs above a bar; without a terminal, lines for a log."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import typer
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from fer_edge._files import make_folder
from fer_edge.cli.output import LINE_SECONDS, duration, err_console, print_note, progress
from fer_edge.cli.pace import Pace

if TYPE_CHECKING:
    from pathlib import Path

    from fer_edge.training.initialization import Sources
    from fer_edge.training.loop import Trainer
    from fer_edge.training.recipe import Recipe
    from fer_edge.training.results import EpochResult

SHOWN = 15  # epochs; earlier ones scroll away
LOG = "tensorboard"  # in the folder of a run


def check_run_folder(folder: Path, sources: Sources) -> None:
    """Refuse a folder that is an input of its run, or whose files are.

    Raises:
        ConfigError: It is.
    """
    from fer_edge._files import check_output
    from fer_edge.training.files import RunFiles

    inputs = (sources.data, sources.valid, sources.init, sources.stem, sources.text_features, *sources.teachers)
    files = RunFiles(folder)
    for path in (folder, files.best, files.last):
        check_output(path, *inputs)


@dataclass(frozen=True)
class Unread:
    """Images of a run that were not read."""

    skipped: list[str] = field(default_factory=list)  # why, of each damaged one
    left_out: list[str] = field(default_factory=list)  # one line on each other kind

    def note(self, line: str) -> None:
        """Keep a line on images that are left out, and print it."""
        self.left_out.append(line)
        print_note(line)


@contextmanager
def prepared(
    recipe: Recipe, sources: Sources, folder: Path | None, *, skip_damaged: bool
) -> Iterator[tuple[Trainer, Unread]]:
    """A trainer, its images read, and which were not; meanwhile the folder is this run's alone.

    Args:
        recipe: Model, data layout and training.
        sources: Files.
        folder: For the run, which is made; None for a dry run, which writes nothing.
        skip_damaged: Leave out images that cannot be read.

    Raises:
        ImageError: One cannot be read, and they are not to be skipped.
        FerEdgeError: Another process trains in the folder; or data, model, features or devices cannot be used.
    """
    from pathlib import Path

    from fer_edge.errors import EngineUnavailableError

    try:
        from fer_edge.training.devices import make_fabric
        from fer_edge.training.failures import explained
        from fer_edge.training.files import RunFiles
        from fer_edge.training.lock import locked
        from fer_edge.training.run import prepare_run
    except ImportError as error:
        raise EngineUnavailableError(
            f'training needs more packages ({error}); run: pip install "fer-edge[train]"'
        ) from error
    unread = Unread()
    skip = (lambda error: unread.skipped.append(str(error))) if skip_damaged else None
    if folder is not None:
        make_folder(folder)
    fabric = make_fabric(recipe.training)
    with ExitStack() as held:
        if folder is not None and fabric.is_global_zero:
            held.enter_context(locked(folder))
            RunFiles(folder).remove_remains()
        memory = "use fewer images with --set limit_train=N, or smaller ones"
        with explained(recipe.training, memory), reading_images(shown=fabric.is_global_zero) as read:
            note = unread.note
            trainer = prepare_run(recipe, sources, folder or Path(), skip, note, fabric=fabric, progress=read)
        if fabric.is_global_zero:
            for reason in unread.skipped:
                print_note(f"skipped: {reason}")
        yield trainer, unread


@contextmanager
def reading_images(*, shown: bool = True) -> Iterator[Callable[[int, int], None]]:
    """Show how many images are read; call the result with those done and all."""
    with ExitStack() as stack:
        advance: Callable[[int], None] | None = None
        before = 0

        def read(done: int, total: int) -> None:
            nonlocal advance, before
            if advance is None:
                advance = stack.enter_context(progress("reading images", total))
            advance(done - before)
            before = done

        yield read if shown else lambda done, total: None


def run_and_show(trainer: Trainer, folder: Path) -> EpochResult:
    """Train to the end, from the folder's resume point if there is one; shown and logged by the first process.

    Raises:
        Exit: Ctrl-C or another signal asked to stop. The resume point is written, and a note says where it is.
    """
    from fer_edge.errors import NonFiniteError
    from fer_edge.training.stop import StopSignals, TrainingStopped

    first = trainer.fabric.is_global_zero
    with StopSignals() as asked:
        try:
            trainer.resume()
            return _followed(trainer, folder, asked)
        except TrainingStopped as stopped:
            if first:
                print_note(stopped)
            raise typer.Exit(128 + stopped.signal) from None
        except NonFiniteError:
            if first:
                raise
            raise typer.Exit(1) from None  # the first process tells
        except KeyboardInterrupt:
            if first:
                print_note(f"stopped at once; {trainer.kept_words()}")
            raise typer.Exit(128 + (asked() or signal.SIGINT)) from None


def _followed(trainer: Trainer, folder: Path, asked: Callable[[], int]) -> EpochResult:
    from fer_edge.training.callbacks import CallbackList, TensorBoard

    if not trainer.fabric.is_global_zero or trainer.done:
        return trainer.run(CallbackList(()), asked)
    if trainer.next_epoch or trainer.next_step:
        print_note(f"going on in epoch {trainer.next_epoch + 1}, step {trainer.next_step + 1}")
    with TrainingDisplay(trainer) as display:
        board = TensorBoard(folder / LOG, display.note)
        try:
            return trainer.run(CallbackList((display, board)), asked)
        finally:
            board.close()


class TrainingDisplay:
    """Follows a run; a context manager."""

    def __init__(self, trainer: Trainer, clock: Callable[[], float] = time.monotonic) -> None:
        self._epochs, self._results = trainer.config.epochs, list(trainer.results)
        self._pace = Pace(trainer.batches.steps, self._epochs, trainer.next_epoch, trainer.next_step, clock)
        self._clock, self._printed = clock, clock()
        self._console = err_console()
        # Narrow, so that all of it fits into 80 columns.
        bar = (BarColumn(bar_width=16), MofNCompleteColumn())
        columns = (TextColumn("{task.description}"), *bar, TextColumn("{task.fields[left]}"))
        self._progress = Progress(*columns, console=self._console)
        self._task = self._progress.add_task("first batch", total=trainer.batches.steps, left="")
        self._live = Live(self._view(), console=self._console, refresh_per_second=4)

    def batch(self, epoch: int, done: int, total: int, loss: float) -> None:
        self._pace.batch(epoch, done)
        self._show(f"{self._name(epoch)}, loss {loss:.3f}", done, total, "steps")

    def validating(self, epoch: int, done: int, total: int) -> None:
        self._pace.validating(done, total)
        self._show(f"{self._name(epoch)}, validating", done, total, "images")

    def epoch(self, result: EpochResult) -> None:
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

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, soft_wrap=True)

    def _name(self, epoch: int) -> str:
        return f"epoch {epoch + 1} of {self._epochs}"

    def _show(self, text: str, done: int, total: int, unit: str) -> None:
        epoch, run = (duration(seconds) for seconds in self._pace.remaining())
        if self._console.is_terminal:
            left = f"{epoch} left, run {run}"
            self._progress.update(self._task, description=text, completed=done, total=total, left=left)
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
