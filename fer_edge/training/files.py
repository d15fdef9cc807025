"""Files of a run: the best checkpoint and the resume point, which belong together."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch

from fer_edge._files import atomic_path, file_sha256
from fer_edge.errors import CheckpointError, FerEdgeError, shown
from fer_edge.model.checkpoint import Checkpoint

MOST_DIFFERENCES = 5  # that a message names

# What is stored as a hash or is long, in words.
_WORDS = {"data": "the images or their labels", "text": "the text features", "teachers": "the teachers"}


class RunFiles:
    """`best.safetensors` and `last.pt` in the folder of a run.

    The resume point holds the SHA-256 of the best checkpoint. A new best one lies beside the old one until the resume
    point that goes with it is written, so that whatever ends the process, one whole pair is there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.best = folder / "best.safetensors"
        self.last = folder / "last.pt"
        self.best_sha256: str | None = None
        self._next = folder / ".best.next.safetensors"

    def save(self, state: Mapping[str, Any], best: Checkpoint | None = None) -> None:
        """Write a resume point, and with it a new best checkpoint if there is one.

        Raises:
            FerEdgeError: The disk is full or the folder cannot be written. The files from before are kept; where there
                is no resume point yet, the checkpoint alone.
        """
        digest = self.best_sha256
        try:
            if best is not None:
                self._write_next(best)
                digest = file_sha256(self._next)
            write_state(self.last, {**state, "best_sha256": digest})
        except FerEdgeError:
            if best is not None and not self.last.exists() and self._next.exists():
                self._promote()
            with suppress(OSError):
                self._next.unlink(missing_ok=True)
            raise
        self.best_sha256 = digest
        if best is not None:
            self._promote()

    def _write_next(self, best: Checkpoint) -> None:
        try:
            best.save(self._next)
        except FerEdgeError as error:
            raise type(error)(str(error).replace(str(self._next), str(self.best))) from error

    def load(self) -> dict[str, Any]:
        """Read the resume point.

        Raises:
            CheckpointError: It is damaged or none.
        """
        try:
            state: dict[str, Any] = torch.load(self.last, weights_only=True, map_location="cpu")
            json.loads(state["configuration"])
        except Exception as error:  # torch raises half a dozen unrelated types for damaged files
            raise self.not_resumable(error) from error
        return state

    def check_pair(self, state: Mapping[str, Any]) -> None:
        """Make sure that the best checkpoint is the one that the resume point was saved with.

        Raises:
            CheckpointError: It is missing, or another one.
        """
        digest = state["best_sha256"]
        if digest is not None:
            with suppress(OSError):
                if file_sha256(self._next) == digest:  # the process ended between the two files
                    self._promote()
            again = f"put it back, or remove {self.last} to start anew"
            if not self.best.is_file():
                raise CheckpointError(f"{self.best} is missing, which {self.last} was saved with; {again}")
            if file_sha256(self.best) != digest:
                raise CheckpointError(f"{self.best} is another file than {self.last} was saved with; {again}")
        self.best_sha256 = digest

    def not_resumable(self, error: Exception) -> CheckpointError:
        """The error of a resume point that cannot be used."""
        return CheckpointError(
            f"{self.last} cannot be resumed from: {error!r}; remove it to start anew, or name another folder"
        )

    def remove_remains(self) -> None:
        """Remove temporary files of a process that was killed while it wrote; only for who holds the folder."""
        for path in (self.best, self.last, self._next):
            for remains in self.folder.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 8}"):
                with suppress(OSError):
                    remains.unlink()

    def _promote(self) -> None:
        try:
            self._next.replace(os.path.realpath(self.best))
        except OSError as error:
            raise FerEdgeError(f"cannot write {self.best}: {error.strerror}; it is kept as {self._next}") from error


class _Recorded:
    """A file that keeps the error of a write, which torch replaces by one of its own without a cause."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        self._file.flush()


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain data as torch does, whole or not at all.

    Raises:
        FerEdgeError: The disk is full, or the folder cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as raw:
        file = _Recorded(raw)
        try:
            torch.save(dict(state), file)  # type: ignore[arg-type]
        except (OSError, RuntimeError) as error:
            raise file.error or error from error


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> str:
    """What two runs' configurations differ in, with both values.

    Different images follow from other settings: what is stored as a hash is named where no setting differs.

    Args:
        here: Configuration of this run, by name; may be nested.
        there: Of the resume point.
    """
    mine, theirs = _flat(here), _flat(there)
    names = [name for name in dict.fromkeys((*mine, *theirs)) if mine.get(name) != theirs.get(name)]
    settings = [name for name in names if name.startswith(("training.", "model.", "format"))]
    parts = []
    for name in settings or names:
        if name in _WORDS:
            parts.append(f"{_WORDS[name]} are others")
            continue
        values = (shown(values[name]) if name in values else "not set" for values in (mine, theirs))
        parts.append("{} is {} here and {} in last.pt".format(name.removeprefix("training."), *values))
    more = f" and {len(parts) - MOST_DIFFERENCES} more" if len(parts) > MOST_DIFFERENCES else ""
    return ", ".join(parts[:MOST_DIFFERENCES]) + more


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat
