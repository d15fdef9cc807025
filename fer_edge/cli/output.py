"""What commands print: tables for people on stdout, JSON for machines, progress and errors on stderr."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def console() -> Console:
    """For results."""
    return Console(markup=False, highlight=False)


def err_console() -> Console:
    """For progress and errors."""
    return Console(stderr=True, markup=False, highlight=False)


def print_json(value: Any, *, indent: int | None = 1) -> None:
    """The only thing on stdout in `--json` mode."""
    print(json.dumps(value, default=_plain, indent=indent))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout; numbers to the right."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(_is_number(row[index]) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(str(value) for value in row))
    console().print(table)


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
        EngineUnavailable: What it needs is not installed.
        FerEdgeError: The folder cannot be made.
    """
    from fer_edge._files import make_folder
    from fer_edge.errors import EngineUnavailable

    try:
        importlib.import_module(module)
    except ImportError as error:
        raise EngineUnavailable(
            f'reports need matplotlib, scikit-learn and Jinja ({error}); run: pip install "fer-edge[report]"'
        ) from error
    make_folder(folder)


@contextmanager
def progress(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, where that is a terminal; call the result with the number of items just done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err_console(), transient=True) as bar:
        task = bar.add_task(text, total=total)
        yield lambda count: bar.advance(task, count)


@contextmanager
def phases(text: str) -> Iterator[Callable[[str, int, int], None]]:
    """Nested phases of a long build on stderr, where that is a terminal; call the result with phase, done and total."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    running: dict[str, TaskID] = {}
    console = err_console()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        bar.add_task(text, total=None)

        def tell(phase: str, done: int, total: int) -> None:
            if phase not in running:
                running[phase] = bar.add_task(f"  {phase}", total=total)
            bar.update(running[phase], completed=done)
            if done >= total:
                bar.remove_task(running.pop(phase))

        yield tell


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _is_number(value: object) -> bool:
    try:
        float(str(value).rstrip(" %"))
    except ValueError:
        return False
    return True
