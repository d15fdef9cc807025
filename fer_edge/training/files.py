"""Files of a run: the best checkpoint and the resume point, which are saved as a pair."""

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

MAX_DIFFERENCES = 5  # in one message

# Values that are stored as a hash or are long, and their description in messages.
_DESCRIPTIONS = {"data": "the images or their labels", "text": "the text features", "teachers": "the teachers"}


class RunFiles:
    """`best.safetensors` and `last.pt` in the folder of a run.

    The resume point contains the SHA-256 of the best checkpoint. A new best checkpoint is written beside the old one
    until its resume point is written, so a complete pair exists whenever the process ends.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.best = folder / "best.safetensors"
        self.last = folder / "last.pt"
        self.best_sha256: str | None = None
        self._next = folder / ".best.next.safetensors"

    def save(self, state: Mapping[str, Any], best: Checkpoint | None = None) -> None:
        """Write a resume point, and a new best checkpoint if there is one.

        Args:
            state: State of the run.
            best: New best checkpoint; None keeps the old one.

        Raises:
            FerEdgeError: A full disk or a folder that cannot be written. The former files stay; without a former
                resume point, the new checkpoint stays.
        """
        digest = self.best_sha256
        try:
            if best is not None:
                self._write_next(best)
                digest = file_sha256(self._next)
            write_state(self.last, {**state, "best_sha256": digest})
        except (FerEdgeError, OSError):  # OSError: the new checkpoint cannot be read back
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
            CheckpointError: A damaged file, or another kind of file.
        """
        try:
            state: dict[str, Any] = torch.load(self.last, weights_only=True, map_location="cpu")
            json.loads(state["configuration"])
        except Exception as error:  # torch raises several unrelated types for damaged files
            raise self.resume_error(error) from error
        return state

    def check_pair(self, state: Mapping[str, Any]) -> None:
        """Check that the best checkpoint is the one that was saved with the resume point.

        Raises:
            CheckpointError: A missing or different checkpoint.
        """
        digest = state["best_sha256"]
        if digest is not None:
            with suppress(OSError):
                if file_sha256(self._next) == digest:  # the process ended between the two files
                    self._promote()
            advice = f"restore it, or remove {self.last} to start over"
            if not self.best.is_file():
                raise CheckpointError(f"{self.best} is missing, which was saved with {self.last}; {advice}")
            if file_sha256(self.best) != digest:
                raise CheckpointError(f"{self.best} is not the file that was saved with {self.last}; {advice}")
        self.best_sha256 = digest

    def resume_error(self, error: Exception) -> CheckpointError:
        """Make the error of a resume point that cannot be used."""
        return CheckpointError(
            f"{self.last} cannot be resumed from: {error!r}; remove it to start over, or name another folder"
        )

    def remove_temporary(self) -> None:
        """Remove temporary files of killed processes; call it only with the folder locked."""
        for path in (self.best, self.last, self._next):
            for temporary in self.folder.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 8}"):
                with suppress(OSError):
                    temporary.unlink()

    def _promote(self) -> None:
        try:
            self._next.replace(os.path.realpath(self.best))
        except OSError as error:
            raise FerEdgeError(
                f"cannot write {self.best}: {error.strerror}; the new checkpoint is {self._next}"
            ) from error


class _ErrorRecorder:
    """A file that records the error of a write; torch replaces it by an error without a cause."""

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
    """Write tensors and plain data atomically, in PyTorch's format.

    Raises:
        FerEdgeError: A full disk, or a folder that cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as raw:
        file = _ErrorRecorder(raw)
        try:
            torch.save(dict(state), file)  # type: ignore[arg-type]
        except (OSError, RuntimeError) as error:
            raise file.error or error from error


def differences(here: Mapping[str, Any], saved: Mapping[str, Any]) -> str:
    """Describe the differences of two runs' configurations, with both values.

    Different settings can cause different images, so values stored as a hash are listed only if all settings are equal.

    Args:
        here: Configuration of this run; may be nested.
        saved: Configuration in the resume point.
    """
    new, old = _flat(here), _flat(saved)
    names = [name for name in dict.fromkeys((*new, *old)) if new.get(name) != old.get(name)]
    settings = [name for name in names if name.startswith(("training.", "model.", "format"))]
    parts = []
    for name in settings or names:
        if name in _DESCRIPTIONS:
            parts.append(f"{_DESCRIPTIONS[name]} differ")
            continue
        values = (shown(values[name]) if name in values else "not set" for values in (new, old))
        parts.append("{} is {} here and {} in last.pt".format(name.removeprefix("training."), *values))
    more = f" and {len(parts) - MAX_DIFFERENCES} more" if len(parts) > MAX_DIFFERENCES else ""
    return ", ".join(parts[:MAX_DIFFERENCES]) + more


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat
