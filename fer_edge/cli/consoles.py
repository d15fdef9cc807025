"""Rich consoles for spinners and bars, and progress lines where stderr is not a terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.markup import escape

from fer_edge._text import printable
from fer_edge.cli.output import LINE_SECONDS, duration, print_note

WIDE = 10_000  # columns of a pipe or file, so that nothing wraps


class LineConsole(Console):
    """Console without markup and wrapping, which escapes control characters.

    Args:
        stderr: Write on stderr instead of stdout.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, highlight=False, soft_wrap=True)
        if not self.is_terminal:
            self.width = WIDE

    def print(self, *objects: Any, **options: Any) -> None:
        """Print texts and renderables; ignore errors of stderr, which must not end the work."""
        safe = [printable(value) if isinstance(value, str) else value for value in objects]
        if not self.stderr:
            super().print(*safe, **options)
            return
        with suppress(OSError, ValueError):
            super().print(*safe, **options)

    def status(self, status: Any, **options: Any) -> Any:
        """Show a spinner on a terminal, else print a line every `LINE_SECONDS`."""
        text = printable(str(status))
        return super().status(escape(text), **options) if self.is_terminal else heartbeat(lambda: text)


@contextmanager
def heartbeat(text: Callable[[], str], seconds: float = LINE_SECONDS) -> Iterator[None]:
    """Print `building tiny.fer: kernels 3 of 8, 1:30 so far` on stderr at regular intervals.

    Args:
        text: Function that returns the current text.
        seconds: Time between two lines, 30 by default.
    """
    ended, started = threading.Event(), time.monotonic()

    def print_lines() -> None:
        while not ended.wait(seconds):
            print_note(f"{text()}, {duration(round(time.monotonic() - started))} so far")

    thread = threading.Thread(target=print_lines, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
