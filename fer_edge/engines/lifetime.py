"""Locks of runners, and what becomes of native code when the process ends or is forked.

**Exit.** A daemon thread that returns from native code after the interpreter's end has begun is ended by CPython
before 3.14 with `pthread_exit`, which unwinds the C++ frames of pybind11; they must not be unwound, and the process
aborts ("terminate called without an active exception"). So native code is entered with a lock only, and an exit hook
takes all of them: it waits until every other thread has come out, and none enters again. Such a thread waits for ever,
and ends with the process. Exit hooks run last in, first out: those that an app registers after importing fer_edge run
before, while everything works as usual; in the later ones the thread that runs them may still use and close
recognizers.

**Fork.** A lock that another thread held is held for ever in the forked process, which lacks that thread. Such locks
are made anew there, and a runner whose engine was in the middle of a call refuses to run.

**Opening.** Two threads that use OpenVINO's bindings for the first time at the same moment wait for each other for
ever, one for the initialisation of a static variable in C++, the other for Python's interpreter lock. So engines are
opened one after the other.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

EXIT_SECONDS = 10.0  # that the end of the process waits for other threads at most

if TYPE_CHECKING:
    _RLock = Any
else:
    _RLock = type(threading.RLock())


class CallLock(_RLock):  # type: ignore[misc]  # written in C
    """Lock of one runner, or of opening.

    It is entered by a plain `with`: a Ctrl-C in between leaves only locks that are written in C as they should be.
    `_is_owned` and `_at_fork_reinit` are what the standard library's `Condition` and `logging` use of such locks.
    """

    def __init__(self) -> None:
        self.lost = False  # whether a thread that this forked process lacks was inside
        _LOCKS.add(self)

    def is_held(self) -> bool:
        """Whether the calling thread holds it."""
        return bool(self._is_owned())

    def after_fork(self) -> None:
        """Free the lock in a forked process from a thread that is not there."""
        if self.is_held():
            return
        if self.acquire(blocking=False):
            self.release()
        else:
            self.lost = True
            self._at_fork_reinit()


class _Process:
    """The end of the process."""

    def __init__(self) -> None:
        self.exiting: int | None = None  # the thread that runs the exit hooks, once they run

    def hold(self) -> None:
        """Wait until other threads have left native code, for 10 s at most, and let none enter again."""
        self.exiting = threading.get_ident()
        deadline = time.monotonic() + EXIT_SECONDS
        OPENING.acquire(timeout=EXIT_SECONDS)  # before the others are listed: what is opened has a lock by its end
        for lock in _locks():
            if not lock.is_held():
                lock.acquire(timeout=max(0.0, deadline - time.monotonic()))

    def after_fork(self) -> None:
        for lock in _locks():
            lock.after_fork()


def exiting_here() -> bool:
    """Whether the calling thread runs the exit hooks of this process."""
    return PROCESS.exiting == threading.get_ident()


def _locks() -> list[CallLock]:
    """All locks; another thread may make a new one meanwhile, which stops an iteration."""
    while True:
        try:
            return list(_LOCKS)
        except RuntimeError:
            continue


_LOCKS: weakref.WeakSet[CallLock] = weakref.WeakSet()
PROCESS = _Process()
OPENING = CallLock()  # held while an engine is looked for, loaded and run for the first time
atexit.register(PROCESS.hold)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PROCESS.after_fork)
