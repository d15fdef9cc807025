"""Consoles of results and notes on Rich: one line stays one line, and controls in texts are escaped."""

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

WIDE = 10_000  # columns of a pipe or file, in which nothing wraps


class LineConsole(Console):
    """Console whose texts are data: no markup, no wrapping, controls escaped; without a terminal as wide as needed."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, highlight=False, soft_wrap=True)
        if not self.is_terminal:
            self.width = WIDE

    def print(self, *objects: Any, **options: Any) -> None:
        """Print texts and renderables; an error of stderr is ignored, since the work is worth more than the note."""
        safe = [printable(value) if isinstance(value, str) else value for value in objects]
        if not self.stderr:
            super().print(*safe, **options)
            return
        with suppress(OSError, ValueError):
            super().print(*safe, **options)

    def status(self, status: Any, **options: Any) -> Any:
        """Show that work goes on: a spinner on a terminal, else a line every `LINE_SECONDS`."""
        text = printable(str(status))
        return super().status(escape(text), **options) if self.is_terminal else heartbeat(lambda: text)


@contextmanager
def heartbeat(text: Callable[[], str], seconds: float = LINE_SECONDS) -> Iterator[None]:
    """Print `building tiny.fer: kernels 3 of 8, 1:30 so far` on stderr every so many seconds.

    Args:
        text: Returns what to say at the moment.
        seconds: Time between two lines.
    """
    ended, started = threading.Event(), time.monotonic()

    def tell() -> None:
        while not ended.wait(seconds):
            print_note(f"{text()}, {duration(round(time.monotonic() - started))} so far")

    teller = threading.Thread(target=tell, name="progress", daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()
