"""Output into a file: lines of JSON, rows as CSV or Parquet, or MCAP."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeAlias

import msgspec

from fer_edge._files import as_path, atomic_path
from fer_edge._require import require
from fer_edge.errors import ConfigError, FerEdgeError
from fer_edge.live.output import Output, Update
from fer_edge.live.outputs import Note
from fer_edge.rows import WriteRows, rows_of, write_csv, write_parquet

Document: TypeAlias = dict[str, Any]
WriteDocument = Callable[[Document], object]
OpenFile = Callable[[Path], AbstractContextManager[WriteDocument]]
MAX_WAITING = 3000  # documents that wait for the disk, 100 seconds at 30 per second
MAX_LINE = 1 << 20  # bytes


def make_file(target: str, labels: Sequence[str], note: Note) -> Output:
    """Make the output for a file.

    Args:
        target: Path; its suffix selects the format.
        labels: Labels of the model.
        note: Function that writes one sentence.

    Raises:
        ConfigError: Path that is a folder.
        EngineUnavailableError: Package of the format that is not installed.
    """
    path = as_path(target, "the file", ConfigError)
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; expected the name of a file to write")
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return FileOutput(path, _write_json_lines, note, has_lines=True)
    if suffix == ".csv":
        return FileOutput(path, lambda file: _write_rows(write_csv(file, labels)), note, has_lines=True)
    if suffix == ".parquet":
        require("pyarrow", "analyse", "Parquet")
        return FileOutput(path, lambda file: _write_rows(write_parquet(file, labels, "analyse")), note)
    from fer_edge.live.outputs.mcap import write_mcap

    require("mcap", "mcap", "MCAP")
    return FileOutput(path, lambda file: write_mcap(file, labels), note)


class FileOutput(Output):
    """Output that writes documents to a file, in a thread of its own, so that a slow disk never delays a frame.

    The file appears under its name at the end, after Ctrl-C too, if there was a result. If it cannot be written to its
    end, for example on a full disk, there is a note at once, and `close` raises an error. Then a file of lines has the
    lines until there, and another file does not appear.

    Args:
        path: File to write.
        open_file: Function that opens a file for documents.
        note: Function that writes one sentence.
        has_lines: Whether the format is lines of text; False by default.
    """

    def __init__(self, path: Path, open_file: OpenFile, note: Note, *, has_lines: bool = False) -> None:
        self._path, self._open_file, self._note, self._has_lines = path, open_file, note, has_lines
        self._documents: SimpleQueue[Document | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._resources = ExitStack()
        self._failure: Exception | None = None
        self._is_open = False
        self._has_result = False
        self._left_out = 0

    def open(self, title: str) -> None:
        """Create the file beside its name, and start the thread.

        Args:
            title: Name of the source.

        Raises:
            FerEdgeError: File that cannot be written.
        """
        with ExitStack() as stack:
            path = stack.enter_context(atomic_path(self._path))
            if self._has_lines:
                stack.enter_context(self._keep_lines(path))
            write = stack.enter_context(self._open_file(path))
            self._resources = stack.pop_all()
        self._is_open = True
        self._thread = threading.Thread(target=self._run, args=(write,), name=f"output {self._path}", daemon=True)
        self._thread.start()

    def send(self, update: Update) -> None:
        if self._documents.qsize() < MAX_WAITING:
            self._documents.put(update.document)
            self._has_result = True
            return
        if not self._left_out:
            self._note(f"{self._path}: the disk is too slow; results are left out")
        self._left_out += 1

    def close(self) -> None:
        """Write what is waiting, and put the file under its name; may be called several times.

        Raises:
            FerEdgeError: File that was not written to its end.
        """
        if self._thread is None:
            return
        self._documents.put(None)
        self._thread.join()
        self._thread = None
        with suppress(_NoResultError), self._resources:
            if self._failure is not None:
                raise self._failure
            if not self._has_result:
                raise _NoResultError
        if self._failure is not None:  # the lines until the failure are kept
            raise FerEdgeError(f"{self._path} is not complete: {_reason(self._failure)}; it has the results until then")
        if self._left_out:
            self._note(f"{self._path}: {self._left_out} results are left out, since the disk was too slow")

    def _run(self, write: WriteDocument) -> None:
        while (document := self._documents.get()) is not None:
            if self._failure is not None:
                continue
            try:
                write(document)
            except Exception as error:
                self._failure = error
                self._note(f"{self._path} cannot be written any more: {_reason(error)}")

    @contextmanager
    def _keep_lines(self, path: Path) -> Iterator[None]:
        """Cut a partial line off a file that cannot be written to its end."""
        try:
            yield
        except OSError as error:
            if not self._is_open:
                raise
            self._failure = error
            with path.open("rb+") as file:
                start = max(file.seek(0, os.SEEK_END) - MAX_LINE, 0)
                file.seek(start)
                file.truncate(start + file.read().rfind(b"\n") + 1)


class _NoResultError(Exception):
    """End of an output that has received nothing, for example since another one could not be opened."""


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


@contextmanager
def _write_json_lines(path: Path) -> Iterator[WriteDocument]:
    with path.open("wb") as file:
        yield lambda document: file.write(msgspec.json.encode(document) + b"\n")


@contextmanager
def _write_rows(writer: AbstractContextManager[WriteRows]) -> Iterator[WriteDocument]:
    with writer as write:
        yield lambda document: write(rows_of(document))
