"""Output of commands: tables, text or JSON on stdout; progress, notes and errors on stderr.

Text goes through `print_line` and `print_note`: one line each, never wrapped, control characters escaped.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from fer_edge._text import one_line, printable
from fer_edge.results import plain_data

if TYPE_CHECKING:
    from fer_edge.cli.consoles import LineConsole
    from fer_edge.results import Result, Table

LINE_SECONDS = 30  # between progress lines without a terminal


def err_console() -> LineConsole:
    """Return a Rich console on stderr, for spinners and bars."""
    from fer_edge.cli.consoles import LineConsole

    return LineConsole(stderr=True)


def print_line(text: object, *, flush: bool = False) -> None:
    """Print one line of a result on stdout.

    Args:
        text: Line.
        flush: Write it at once also to a pipe or file; False by default.
    """
    print(printable(str(text)), flush=flush)


def print_note(text: object) -> None:
    """Print one line on stderr; print nothing if stderr is closed or broken."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # a full disk or a closed pipe must not end the work
            print(printable(str(text)), file=sys.stderr, flush=True)


def print_error(message: object) -> None:
    """Print `error: ...` on stderr, on one line."""
    print_note(f"error: {message}")


def print_json(value: Any, *, indent: int | None = 1) -> None:
    """Print a result of `--json` on stdout: RFC 8259 JSON, in which NaN and infinity are null.

    Args:
        value: Result: dataclasses, dicts, lists, paths, numbers and texts.
        indent: Spaces of one level; None prints everything on one line, at once. 1 by default.
    """
    print(json.dumps(plain_data(value), indent=indent, allow_nan=False), flush=indent is None)


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Print names and values in two columns on stdout; on a terminal, long values continue on the next line.

    Args:
        fields: Names and values.
    """
    from textwrap import wrap

    indent = 2 + max(len(name) for name, _ in fields) + 2
    room = max(_width() - indent, 20)
    for name, value in fields:
        first, *others = wrap(value, room, break_on_hyphens=False) or [""]
        print_line(f"  {name}".ljust(indent) + first)
        for line in others:
            print_line(" " * indent + line)


def print_table(table: Table) -> None:
    """Print a table on stdout, numbers right-aligned.

    On a terminal, headers and sentences wrap and long names are shortened to fit its width. In a pipe or file,
    nothing is wrapped or shortened.
    """
    from fer_edge.tables import text_of_table

    print(text_of_table(table, _width()))


def print_result(result: Result, *, as_json: bool = False) -> None:
    """Print a result of the Python API on stdout.

    Args:
        result: Result.
        as_json: Print JSON instead of tables and notes; False by default.
    """
    if as_json:
        print_json(result.to_dict())
        return
    for table in result.tables():
        print_table(table)
    for line in result.notes():
        print_line(line)


def route_messages() -> None:
    """Print Python's warnings and the messages of the logger "fer_edge" from level INFO on stderr, one line each."""
    import logging
    import warnings

    class NoteHandler(logging.Handler):
        """Handler that prints a record as a note; a warning starts with `warning: `."""

        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno <= logging.INFO and record.name != "fer_edge":
                return  # messages of TensorRT itself, for the logger "fer_edge.tensorrt"
            level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
            print_note(f"{level}{record.getMessage()}")

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        print_note(f"warning: {one_line(str(message))}")

    logger = logging.getLogger("fer_edge")
    if not logger.handlers:
        logger.addHandler(NoteHandler())
        logger.setLevel(logging.INFO)
    warnings.showwarning = show


@contextmanager
def progress(title: str, total: int, *, unit: str = "") -> Iterator[Callable[[int], None]]:
    """Show the progress of one step on stderr: a bar, or without a terminal a line every 30 s.

    Args:
        title: Name of the step, "comparing".
        total: Number of items; 0 if it is unknown.
        unit: Name of the items, to show their rate: "images"; empty by default, without a rate.

    Yields:
        Function to call with the number of items just finished.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = err_console()
    if not console.is_terminal:
        yield ProgressLines(title, total, unit).advance
        return
    name = TextColumn("{task.description}", markup=False)
    rate = TextColumn("{task.fields[rate]}")
    columns = (name, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), rate)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(printable(title), total=total or None, rate="")

        def advance(count: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, advance=count, rate=f"{speed:.0f} {unit}/s" if unit and speed else "")

        yield advance


class ProgressLines:
    """Progress for logs: a line every `LINE_SECONDS`, `evaluating: 1200 of 3191 (38 %), 0:52 remaining`.

    Args:
        title: Name of the step.
        total: Number of items; 0 if it is unknown.
        unit: Name of the items, to show their rate: "images"; empty by default, without a rate.
    """

    def __init__(self, title: str, total: int, unit: str = "") -> None:
        self._title, self._total, self._unit, self._done = title, total, unit, 0
        self._started = self._printed = time.monotonic()

    def advance(self, count: int) -> None:
        """Add finished items, and print a line if the last one is old enough.

        Args:
            count: Number of items just finished.
        """
        self._done += count
        now = time.monotonic()
        if now - self._printed < LINE_SECONDS or self._done <= 0:
            return
        self._printed = now
        rate = f", {self._done / (now - self._started):.0f} {self._unit}/s" if self._unit else ""
        if not self._total:
            print_note(f"{self._title}: {self._done}{rate}")
            return
        seconds = round((now - self._started) / self._done * max(self._total - self._done, 0))
        share = 100 * self._done / self._total
        print_note(f"{self._title}: {self._done} of {self._total} ({share:.0f} %){rate}, {duration(seconds)} remaining")


def duration(seconds: int) -> str:
    """Format seconds as h:mm:ss, or m:ss below an hour."""
    hours, below_hour = divmod(seconds, 3600)
    minutes, seconds = divmod(below_hour, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


@contextmanager
def phases(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show the nested phases of a long build on stderr; without a terminal, a line every 30 s names the phase.

    Args:
        title: Name of the build.

    Yields:
        Function to call with the name of a phase, its finished steps and its steps in total.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn

    from fer_edge.cli.consoles import heartbeat

    console = err_console()
    if not console.is_terminal:
        line = title

        def store(phase: str, done: int, total: int) -> None:
            nonlocal line
            line = f"{title}: {phase}, {done} of {total}"

        with heartbeat(lambda: line):
            yield store
        return
    tasks: dict[str, TaskID] = {}
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        bar.add_task(printable(title), total=None)

        def update(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bar.add_task(f"  {printable(phase)}", total=total)
            bar.update(tasks[phase], completed=done)
            if done >= total:
                bar.remove_task(tasks.pop(phase))

        yield update


def _width() -> int:
    """Return the width of stdout in columns; of a pipe or file, a width in which nothing wraps."""
    from fer_edge.cli.consoles import LineConsole

    return LineConsole().width
