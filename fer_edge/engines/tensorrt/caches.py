"""Files that keep what TensorRT would otherwise work out again: kernel timings, and kernels compiled on the user's GPU.

Both are native material that is loaded without a check of its own: keep the folder as private as the programs are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fer_edge._files import sha256, write_atomically
from fer_edge.engines.tensorrt.callbacks import LOG
from fer_edge.errors import EngineError, EngineUnavailableError, FerEdgeError

MAX_FILE_BYTES = 100 << 20  # above it, reading a cache costs more than it saves
MAX_FOLDER_BYTES = 512 << 20
LOCK_SECONDS = 30


def default_folder() -> Path:
    """Where caches are kept: `FER_EDGE_CACHE`, or the user's cache folder.

    Raises:
        EngineError: The user has no home folder, and none is chosen.
    """
    if chosen := os.environ.get("FER_EDGE_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        return (_folder_in("LOCALAPPDATA") or _home() / "AppData" / "Local") / "fer-edge" / "cache"
    return (_folder_in("XDG_CACHE_HOME") or _home() / ".cache") / "fer-edge"


def _folder_in(variable: str) -> Path | None:
    """An absolute folder; as the rule for such variables is, others are as none."""
    folder = Path(os.environ.get(variable, ""))
    return folder if folder.is_absolute() else None


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        # A folder that all users share is none for native material.
        raise EngineError(
            f"there is no home folder to keep compiled kernels in ({error}); set FER_EDGE_CACHE to a folder of yours"
        ) from error


def cache_name(kind: str, model: bytes, version: str, target: str) -> str:
    """A file name that is equal only for what may share a cache: graph, engine version and compute capability."""
    return f"{kind}-{sha256(model)[:24]}-{version}-{target}.cache"


class CacheFile:
    """One cache on disk, shared by processes. Losing it costs time and nothing else: no failure here is an error."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / name

    def read(self) -> bytes:
        """Its bytes; none if there is no file or it is too large to be worth reading."""
        try:
            if self.path.stat().st_size > MAX_FILE_BYTES:
                LOG.warning("%s is larger than %d bytes and is not read", self.path, MAX_FILE_BYTES)
                return b""
            return self.path.read_bytes()
        except OSError:
            return b""

    def update(self, merge: Callable[[bytes], bytes]) -> None:
        """Replace the bytes by what `merge` makes of the present ones, while no other process does the same."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked():
                data = merge(self.read())
                if len(data) > MAX_FILE_BYTES:
                    LOG.warning("a cache of %d bytes is not kept; the limit is %d", len(data), MAX_FILE_BYTES)
                    return
                write_atomically(self.path, data)
                _drop_oldest(self.path.parent, keep=self.path)
        except (FerEdgeError, OSError) as error:
            LOG.warning("the cache %s is not kept: %s", self.path, error)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            from filelock import FileLock, Timeout
        except ImportError as error:
            raise EngineUnavailableError(f"filelock cannot be imported ({error})") from error
        try:
            with FileLock(f"{self.path}.lock", timeout=LOCK_SECONDS):
                yield
        except Timeout as error:
            raise EngineUnavailableError(f"another process has held its lock for {LOCK_SECONDS} s") from error


def _drop_oldest(folder: Path, keep: Path) -> None:
    """Keep the folder below its limit; what was not written for longest goes first."""
    files = sorted(
        (entry for entry in folder.glob("*.cache") if entry != keep), key=lambda entry: entry.stat().st_mtime
    )
    total = sum(entry.stat().st_size for entry in [*files, keep])
    for entry in files:
        if total <= MAX_FOLDER_BYTES:
            return
        total -= entry.stat().st_size
        entry.unlink(missing_ok=True)
