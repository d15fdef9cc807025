"""Locks of runners, and their handling when the process exits or is forked.

**Exit.** While the interpreter exits, CPython before 3.14 ends a daemon thread that returns from native code with
`pthread_exit`. That unwinds the C++ frames of pybind11, which do not support it, and the process aborts ("terminate
called without an active exception"). Therefore native code runs only under a lock, and an exit hook acquires all locks:
it waits until every other thread has left native code, and blocks new calls. A blocked thread ends with the process.
Exit hooks run in reverse order of registration. Hooks that an app registers after importing fer_edge run before this
one, while everything works as usual. In hooks that run after it, the exit thread may still use and close recognizers.

**Fork.** A lock that another thread held stays locked for ever in the forked process, which does not have that thread.
Such locks are recreated there, and a runner whose engine was in the middle of a call refuses to run.

**Opening.** Two threads that use OpenVINO's bindings for the first time at the same moment deadlock: one waits for the
initialisation of a static C++ variable, the other for Python's interpreter lock. Therefore engines are opened one after
another.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from fer_edge.errors import EngineError

EXIT_SECONDS = 10.0  # longest wait for other threads at exit

if TYPE_CHECKING:
    _RLock = Any
else:
    _RLock = type(threading.RLock())


class CallLock(_RLock):  # type: ignore[misc]  # written in C
    """Lock of one runner, or of opening. The exit waits for it.

    Acquire it with a plain `with`: its `__enter__` is written in C, so a Ctrl-C cannot leave it half acquired.
    `_is_owned` and `_at_fork_reinit` are the methods that `Condition` and `logging` of the standard library use.
    """

    blocks_exit = True

    def __init__(self) -> None:
        self.orphaned = False  # whether a thread that this forked process does not have was holding it
        _LOCKS.add(self)

    def is_held(self) -> bool:
        """Return whether the calling thread holds the lock."""
        return bool(self._is_owned())

    def exclusive(self) -> CallLock:
        """Return this lock, to hold by `with` around a call of an engine.

        Raises:
            EngineError: The calling thread is already inside a call, or another one was when this process was forked.
        """
        if self.is_held():
            if not is_exit_thread():
                raise EngineError(
                    "called during another call of the same thread, for example from a signal handler; wait until "
                    "that call returns, or open a second recognizer"
                )
        elif is_exit_thread() and not self.acquire(blocking=False):
            raise EngineError("the process is exiting while another thread is inside a call; stop that thread first")
        if self.orphaned:
            raise EngineError(
                "another thread was in a call when this process was forked; open the bundle again in this process"
            )
        return self

    def after_fork(self) -> None:
        """Free the lock, in a forked process, if its holder does not exist there."""
        if self.is_held():
            return
        if self.acquire(blocking=False):
            self.release()
        else:
            self.orphaned = True
            self._at_fork_reinit()


class StateLock(CallLock):
    """Lock of the state of an object. The exit does not wait for it: a thread that holds it may wait for `OPENING`."""

    blocks_exit = False


class _ProcessState:
    """Exit and fork of this process."""

    def __init__(self) -> None:
        self.exit_thread: int | None = None  # identifier of the thread that runs the exit hooks; None before exit

    def block_native_calls(self) -> None:
        """Wait up to 10 s until other threads have left native code, and block new calls."""
        self.exit_thread = threading.get_ident()
        deadline = time.monotonic() + EXIT_SECONDS
        OPENING.acquire(timeout=EXIT_SECONDS)  # before listing the others: an engine that is being opened adds its lock
        for lock in _locks():
            if lock.blocks_exit and not lock.is_held():
                lock.acquire(timeout=max(0.0, deadline - time.monotonic()))

    def after_fork(self) -> None:
        for lock in _locks():
            lock.after_fork()


def is_exit_thread() -> bool:
    """Return whether the calling thread runs the exit hooks of this process."""
    return PROCESS.exit_thread == threading.get_ident()


def _locks() -> list[CallLock]:
    """Return all locks; try again if another thread adds one during the iteration."""
    while True:
        try:
            return list(_LOCKS)
        except RuntimeError:
            continue


_LOCKS: weakref.WeakSet[CallLock] = weakref.WeakSet()
PROCESS = _ProcessState()
OPENING = CallLock()  # held while an engine is selected, loaded and run for the first time
atexit.register(PROCESS.block_native_calls)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PROCESS.after_fork)
