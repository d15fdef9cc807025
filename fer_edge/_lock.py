"""A lock on the folder of a run: one process at a time writes into it."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fer_edge.errors import FerEdgeError

NAME = ".lock"
_BYTE = 1 << 30  # Windows locks bytes: one far behind the text keeps the text readable for others
_LOCKED = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL}


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock an existing folder; the operating system releases the lock when the process ends.

    On file systems without locks, the folder is used without one.

    Raises:
        FerEdgeError: A folder locked by another process, or not writable.
    """
    path = folder / NAME
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        raise _write_error(folder, error) from error
    try:
        try:
            _lock(file)
        except OSError as error:
            if error.errno in _LOCKED:
                raise FerEdgeError(
                    f"{folder} is in use by {_owner(file)}; wait for it, or name another folder"
                ) from error
            if error.errno not in _UNSUPPORTED:
                raise _write_error(folder, error) from error
        _write_owner(file, folder)
        yield
    finally:
        os.close(file)


def _write_error(folder: Path, error: OSError) -> FerEdgeError:
    return FerEdgeError(f"cannot write into the folder {folder}: {error.strerror}; name another one")


def _write_owner(file: int, folder: Path) -> None:
    try:
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    except OSError as error:
        raise _write_error(folder, error) from error


def _owner(file: int) -> str:
    with suppress(OSError):
        text = os.read(file, 200).decode(errors="replace").strip()
        if text:
            return text
    return "another process"


def _lock(file: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(file, _BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(file, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
