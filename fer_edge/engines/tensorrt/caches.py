"""Cache files of TensorRT: kernel timings of a build, and kernels compiled on the user's GPU.

Both contain native code or data that is loaded without verification. Give the folder the same access rights as the
installed programs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fer_edge._files import sha256, write_atomically
from fer_edge._require import require
from fer_edge.engines.tensorrt.api import LOG
from fer_edge.errors import EngineError, EngineUnavailableError, FerEdgeError

MAX_FILE_BYTES = 100 << 20  # reading a larger cache takes longer than the work it saves
MAX_FOLDER_BYTES = 512 << 20
LOCK_SECONDS = 30


def default_folder() -> Path:
    """Return the folder for caches: `FER_EDGE_CACHE` if set, otherwise fer-edge's part of the user's cache folder.

    Raises:
        EngineUnavailableError: platformdirs missing.
        EngineError: User without home folder, and `FER_EDGE_CACHE` not set.
    """
    if configured := os.environ.get("FER_EDGE_CACHE"):
        return Path(configured)
    platformdirs = require("platformdirs", "cuda", "the folder of compiled kernels")
    try:
        return Path(platformdirs.user_cache_path("fer-edge", appauthor=False))
    except RuntimeError as error:
        # No fallback to a temporary folder: other users could write native code there.
        raise EngineError(
            f"there is no home folder to keep compiled kernels in ({error}); set FER_EDGE_CACHE to a private folder"
        ) from error


def cache_name(kind: str, model: bytes, version: str, target: str) -> str:
    """Return the file name of a cache.

    Args:
        kind: Content of the cache, `timing` or `kernels`.
        model: Graph or engine file that the cache belongs to.
        version: Version of the engine.
        target: Compute capability, `sm89`.
    """
    return f"{kind}-{sha256(model)[:24]}-{version}-{target}.cache"


class CacheFile:
    """A cache on disk, shared by processes. Failures are logged and never raised: a lost cache only costs time."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / name

    def read(self) -> bytes:
        """Return the content; empty if the file is missing, unreadable or larger than `MAX_FILE_BYTES`."""
        try:
            if self.path.stat().st_size > MAX_FILE_BYTES:
                LOG.warning("the cache %s is not read: it is larger than %d bytes", self.path, MAX_FILE_BYTES)
                return b""
            return self.path.read_bytes()
        except OSError:
            return b""

    def update(self, merge: Callable[[bytes], bytes]) -> None:
        """Replace the content under a lock that all processes share.

        Args:
            merge: Function from the present content to the new content.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._lock_file():
                data = merge(self.read())
                if len(data) > MAX_FILE_BYTES:
                    LOG.warning("a cache of %d bytes is not stored; the limit is %d", len(data), MAX_FILE_BYTES)
                    return
                write_atomically(self.path, data)
                _delete_oldest(self.path.parent, keep=self.path)
        except (FerEdgeError, OSError) as error:
            LOG.warning("the cache %s is not stored: %s", self.path, error)

    @contextmanager
    def _lock_file(self) -> Iterator[None]:
        filelock = require("filelock", "cuda", "a cache shared by processes")
        try:
            with filelock.FileLock(f"{self.path}.lock", timeout=LOCK_SECONDS):
                yield
        except filelock.Timeout as error:
            raise EngineUnavailableError(f"another process has held its lock for {LOCK_SECONDS} s") from error


def _delete_oldest(folder: Path, keep: Path) -> None:
    """Delete the caches with the oldest write time until the folder is within `MAX_FOLDER_BYTES`."""
    files = sorted(
        (entry for entry in folder.glob("*.cache") if entry != keep), key=lambda entry: entry.stat().st_mtime
    )
    total = sum(entry.stat().st_size for entry in [*files, keep])
    for entry in files:
        if total <= MAX_FOLDER_BYTES:
            return
        total -= entry.stat().st_size
        entry.unlink(missing_ok=True)
