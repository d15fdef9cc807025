"""Locks of runners, and what becomes of native code when the process ends or is forked.

**Exit.** A daemon thread that returns from native code after the interpreter's end has begun is ended by CPython
before 3.14 with `pthread_exit`, which unwinds the C++ frames of pybind11; they must not be unwound, and the process
aborts ("terminate called without an active exception"). So an exit hook waits until every other thread has left native
code, and lets none enter again: such a thread waits for ever, and ends with the process. Exit hooks run last in, first
out: those that an app registers after importing fer_edge run before, while everything still works as usual; the thread
that runs the hooks may use and close recognizers in the later ones too.

**Fork.** A lock that another thread held is held for ever in the forked process, which lacks that thread. Such locks
are made anew there, and the runner, whose engine was in the middle of a call, refuses to run.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

EXIT_SECONDS = 10.0  # that the end of the process waits for other threads at most

if TYPE_CHECKING:
    _RLock = Any
else:
    _RLock = type(threading.RLock())


class CallLock(_RLock):  # type: ignore[misc]  # written in C
    """Lock of one runner. Entered by a plain `with`: only locks written in C are safe from a Ctrl-C in between.

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
    """Threads in native code outside of runners, and the thread that ends the process."""

    def __init__(self) -> None:
        self.exiting: int | None = None  # the thread that runs the exit hooks, once they run
        self._changed = threading.Condition()
        self._depths: dict[int, int] = {}  # by thread

    def enter(self) -> None:
        me = threading.get_ident()
        with self._changed:
            if self.exiting in (None, me) or me in self._depths:
                self._depths[me] = self._depths.get(me, 0) + 1
                return
        wait_for_ever()

    def leave(self) -> None:
        me = threading.get_ident()
        with self._changed:
            self._depths[me] -= 1
            if not self._depths[me]:
                del self._depths[me]
                self._changed.notify_all()

    def hold(self) -> None:
        """Wait until other threads have left native code, for 10 s at most, and let none enter again."""
        deadline = time.monotonic() + EXIT_SECONDS
        me = threading.get_ident()
        with self._changed:
            self.exiting = me
            self._changed.wait_for(lambda: not self._depths.keys() - {me}, EXIT_SECONDS)
        for lock in _locks():
            if not lock.is_held():
                lock.acquire(timeout=max(0.0, deadline - time.monotonic()))

    def after_fork(self) -> None:
        me = threading.get_ident()
        self._changed = threading.Condition()
        self._depths = {thread: depth for thread, depth in self._depths.items() if thread == me}
        for lock in _locks():
            lock.after_fork()


_LOCKS: weakref.WeakSet[CallLock] = weakref.WeakSet()
PROCESS = _Process()
atexit.register(PROCESS.hold)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PROCESS.after_fork)


@contextmanager
def native_code() -> Iterator[None]:
    """Mark a block that opens engines; at the end of the process other threads do not get in."""
    PROCESS.enter()
    try:
        yield
    finally:
        PROCESS.leave()


def exiting_here() -> bool:
    """Whether the calling thread runs the exit hooks of this process."""
    return PROCESS.exiting == threading.get_ident()


def wait_for_ever() -> None:
    """Stop the calling thread until the process ends."""
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def _locks() -> list[CallLock]:
    """All locks; another thread may make a new one meanwhile, which stops an iteration."""
    while True:
        try:
            return list(_LOCKS)
        except RuntimeError:
            continue
