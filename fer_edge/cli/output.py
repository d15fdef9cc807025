"""Output of commands: tables or JSON on stdout, progress, notes and errors on stderr."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_edge._text import one_line, printable
from fer_edge.results import plain_data

if TYPE_CHECKING:
    from fer_edge.cli.consoles import LineConsole
    from fer_edge.results import Result
    from fer_edge.walk import LeftOut

LINE_SECONDS = 30  # between progress lines without a terminal


def console() -> LineConsole:
    """Console of results, on stdout: one line a print, controls escaped."""
    from fer_edge.cli.consoles import LineConsole

    return LineConsole()


def err_console() -> LineConsole:
    """Console of progress and notes, on stderr."""
    from fer_edge.cli.consoles import LineConsole

    return LineConsole(stderr=True)


def print_json(value: Any, *, indent: int | None = 1) -> None:
    """Print the result of a command in `--json` mode: RFC 8259 JSON, in which NaN and infinity are null."""
    print(json.dumps(plain_data(value), indent=indent, allow_nan=False), flush=indent is None)


def print_error(message: object) -> None:
    """Print `error: ...` on stderr, on one line; nothing where stderr is closed."""
    print_note(f"error: {message}")


def print_note(message: object) -> None:
    """Print one line on stderr, without wrapping, controls escaped; nothing where stderr is closed or broken."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # a full disk, a reader that has gone; the work goes on
            print(printable(str(message)), file=sys.stderr, flush=True)


def route_messages() -> None:
    """Print warnings of Python and of the logger "fer_edge" as notes, one line each."""
    import logging
    import warnings

    class Notes(logging.Handler):
        """Handler that prints records as notes."""

        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno <= logging.INFO and record.name != "fer_edge":
                return  # TensorRT's own notes, for its logger "fer_edge.tensorrt"
            prefix = f"{record.levelname.lower()}: " if record.levelno > logging.INFO else ""
            print_note(prefix + one_line(record.getMessage(), limit=1000))

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        print_note(f"warning: {one_line(str(message))}")

    logger = logging.getLogger("fer_edge")
    if not logger.handlers:
        logger.addHandler(Notes(logging.INFO))
        logger.setLevel(logging.INFO)
    warnings.showwarning = show


def print_line(text: object) -> None:
    """Print one line of a result on stdout, without wrapping, controls escaped."""
    print(printable(str(text)))


def print_notes(left_out: Iterable[LeftOut]) -> None:
    """Print one line on stderr for each reason why files or images were left out."""
    from fer_edge.walk import notes

    for line in notes(left_out):
        print_note(line)


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Print names and values in two columns on stdout; on a terminal, values wrap below themselves."""
    from textwrap import wrap

    indent = 2 + max(len(name) for name, _ in fields) + 2
    room = max(console().width - indent, 20)
    for name, value in fields:
        first, *rest = wrap(value, room, break_on_hyphens=False) or [""]
        print_line(f"  {name}".ljust(indent) + first)
        for line in rest:
            print_line(" " * indent + line)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on stdout, figures to the right.

    On a terminal it fits the width: headers and sentences wrap, long names lose their middle. In a pipe or file
    nothing is wrapped or cut.
    """
    from fer_edge.results import Table
    from fer_edge.tables import text_of_table

    table = Table(title, tuple(columns), tuple(map(tuple, rows)))
    print(text_of_table(table, console().width))


def print_result(result: Result, *, as_json: bool = False) -> None:
    """Print a result of the Python API on stdout: its tables and notes, or JSON."""
    if as_json:
        print_json(result.to_dict())
        return
    for table in result.tables():
        print_table(table.title, table.columns, table.rows)
    for line in result.notes():
        print_line(line)


def write_text(path: Path, text: str) -> None:
    """A file for machines, whole or not at all."""
    from fer_edge._files import write_atomically

    write_atomically(path, text.encode())


def prepare_report(folder: Path, module: str) -> None:
    """Make a report's folder, before the long work that it is to tell of.

    Args:
        folder: For the page.
        module: What writes it.

    Raises:
        EngineUnavailableError: What it needs is not installed.
        FerEdgeError: The folder cannot be made.
    """
    from fer_edge._files import make_folder
    from fer_edge.errors import EngineUnavailableError

    try:
        importlib.import_module(module)
    except ImportError as error:
        raise EngineUnavailableError(
            f'reports need matplotlib, scikit-learn and Jinja ({error}); run: pip install "fer-edge[report]"'
        ) from error
    make_folder(folder)


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr, or without a terminal a line every 30 s.

    Args:
        title: Name of the work, "comparing".
        total: Number of items.

    Yields:
        A function to call with the number of items just done.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = err_console()
    if not console.is_terminal:
        yield ProgressLines(title, total).advance
        return
    described = TextColumn("{task.description}", markup=False)
    columns = (described, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(printable(title), total=total)
        yield lambda count: bar.advance(task, count)


class ProgressLines:
    """Progress for logs: a line every `LINE_SECONDS`, `evaluating: 1200 of 3191 (38 %), 0:52 remaining`."""

    def __init__(self, text: str, total: int) -> None:
        self._text, self._total, self._done = text, total, 0
        self._started = self._printed = time.monotonic()

    def advance(self, count: int) -> None:
        """Add finished items, and print a line if one is due."""
        self._done += count
        now = time.monotonic()
        if now - self._printed < LINE_SECONDS or not self._done:
            return
        self._printed = now
        seconds = round((now - self._started) / self._done * max(self._total - self._done, 0))
        share = 100 * self._done / self._total if self._total else 100
        print_note(f"{self._text}: {self._done} of {self._total} ({share:.0f} %), {duration(seconds)} remaining")


def duration(seconds: int) -> str:
    """Format seconds as h:mm:ss, or m:ss below an hour."""
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


@contextmanager
def phases(text: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show nested phases of a long build on stderr; call the result with phase, done and total.

    Without a terminal a line every 30 s names the phase.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn

    from fer_edge.cli.consoles import heartbeat

    running: dict[str, TaskID] = {}
    console = err_console()
    if not console.is_terminal:
        current = {"phase": text}

        def note(phase: str, done: int, total: int) -> None:
            current["phase"] = f"{text}: {phase}, {done} of {total}"

        with heartbeat(lambda: current["phase"]):
            yield note
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        bar.add_task(printable(text), total=None)

        def tell(phase: str, done: int, total: int) -> None:
            if phase not in running:
                running[phase] = bar.add_task(f"  {printable(phase)}", total=total)
            bar.update(running[phase], completed=done)
            if done >= total:
                bar.remove_task(running.pop(phase))

        yield tell
