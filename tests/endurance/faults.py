"""Faults of calls on files and sockets in a process, by a small C library in LD_PRELOAD.

Needs Linux with a C compiler.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path

VARIABLE = "FER_EDGE_FAULTS"
SOURCE = Path(__file__).with_name("faults.c")
ONCE, FROM_THEN_ON, SHORT, RANDOM = range(4)


class Calls(IntFlag):
    """Kinds of system calls."""

    OPEN = 1
    CREATE = 2
    READ = 4
    WRITE = 8
    SYNC = 16
    NAME = 32  # rename, remove, change permissions
    STAT = 64
    CLOSE = 128
    CONNECT = 256
    SEND = 512
    RECEIVE = 1024


FILES = Calls(255)
SOCKETS = Calls.CONNECT | Calls.SEND | Calls.RECEIVE


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: Name in tables.
        calls: Calls that fail.
        error: Number of the error; 0 for half of the bytes.
        mode: Whether one call fails, or all from it on.
    """

    name: str
    calls: Calls
    error: int
    mode: int = ONCE

    def setting(self, folder: Path, number: int, counts: Path, seed: int = 0) -> str:
        """Return the text that arms the library.

        Args:
            folder: Folder whose files have faults.
            number: Number of the call that fails, from 1 on; in a random mode, calls of a million that fail.
            counts: File of the counts, which processes share.
            seed: Seed of a random mode.
        """
        return f"{folder}|{int(self.calls)}|{number}|{self.error}|{self.mode}|{seed}|{counts}"


FULL_DISK = Fault("full disk", Calls.CREATE | Calls.WRITE | Calls.SYNC, errno.ENOSPC, FROM_THEN_ON)
INPUT_OUTPUT = Fault("EIO", FILES & ~Calls.NAME, errno.EIO)
PERMISSION = Fault("EACCES", Calls.OPEN | Calls.CREATE | Calls.NAME, errno.EACCES)
HALF = Fault("half of the bytes", Calls.READ | Calls.WRITE, 0, SHORT)
FAULTS_AT_RANDOM = Fault("at random", FILES & ~Calls.STAT | SOCKETS, 0, RANDOM)
FILE_FAULTS = (FULL_DISK, INPUT_OUTPUT, PERMISSION, HALF)
RESET = Fault("ECONNRESET", SOCKETS, errno.ECONNRESET)
TIMED_OUT = Fault("ETIMEDOUT", SOCKETS, errno.ETIMEDOUT)
HALF_OF_MESSAGE = Fault("half of the bytes", Calls.SEND | Calls.RECEIVE, 0, SHORT)
SOCKET_FAULTS = (RESET, TIMED_OUT, HALF_OF_MESSAGE)


def compiler() -> str | None:
    """Return the path of the C compiler; None without one, or on another system than Linux."""
    return shutil.which("cc") if sys.platform == "linux" else None


def build_library(folder: Path) -> Path:
    """Compile the library, and return its path."""
    path = folder / "faults.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(path), str(SOURCE), "-ldl"], check=True)
    return path


def arm(setting: str) -> None:
    """Arm the library of this process; an empty text disarms it.

    Raises:
        RuntimeError: Process that was started without the library, or a file of counts that cannot be written.
    """
    function = getattr(ctypes.CDLL(None), "arm_faults", None)
    if function is None or function(os.fsencode(setting)):
        raise RuntimeError("faults cannot be armed; start the process with the library in LD_PRELOAD")


@dataclass(frozen=True)
class Counts:
    """Counts of a run.

    Attributes:
        calls: Calls that the setting covers.
        faults: Those that failed.
        first: Name and file of the first that failed; empty without one.
    """

    calls: int
    faults: int
    first: str


def read_counts(path: Path) -> Counts:
    """Read the file of the counts; zeros if no process was armed."""
    data = path.read_bytes() if path.exists() else bytes(16)
    calls, faults = struct.unpack_from("<qq", data)
    return Counts(calls, faults, data[16:].split(b"\0")[0].decode(errors="replace"))
