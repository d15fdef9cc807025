"""Output of one line of JSON per frame."""

from __future__ import annotations

import json
from collections.abc import Callable

from fer_edge.live.output import Output, Update


class JsonLines(Output):
    """Output that writes each update as one line of JSON.

    Args:
        write: Function that writes one line, without its end.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def send(self, update: Update) -> None:
        self._write(json.dumps(update.document, allow_nan=False))


class SourceNotes(Output):
    """Output that writes a sentence when the source breaks off or is back.

    Args:
        write: Function that writes one line, without its end.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._title = ""
        self._message = ""

    def open(self, title: str) -> None:
        self._title = title

    def send(self, update: Update) -> None:
        source = update.source
        if source.status == "reconnecting" and source.message != self._message:
            self._write(f"{source.message}; trying to connect again")
        elif source.status == "connected" and self._message:
            self._write(f"{self._title} is connected again")
        self._message = source.message if source.status == "reconnecting" else ""
