"""One limit of CPU threads for all networks of this process, whatever their engine.

A network of N threads occupies N of the limit while it runs, and waits for them before. So the sum over all calls at
one moment stays within the limit. Waiting calls run in the order of their arrival.

ONNX Runtime has one thread pool for all sessions, which is not used: version 1.20 lacks it, and beside it the default
sessions that the app opens itself fail. OpenVINO has a limit for each network only.
"""

from __future__ import annotations

import os
import threading
from collections import deque

from fer_edge.engines.lifetime import is_exit_thread
from fer_edge.errors import ConfigError, shown
from fer_edge.hardware.cpu import default_threads, processors

VARIABLE = "FER_EDGE_THREADS"  # environment variable with the limit
MAX_THREADS = 1024


class ThreadLimit:
    """Limit of the process, and the calls of networks that run or wait.

    A call whose thread is inside another call, as in a signal handler, does not wait: the other one is suspended.
    """

    def __init__(self) -> None:
        self._limit: int | None = None
        self._is_set = False  # by `set`, or from the environment variable
        self._is_used = False  # by a network that was opened
        self.renew()

    def renew(self) -> None:
        """Drop all calls: a forked process has none of their threads."""
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._running: dict[object, tuple[int, int]] = {}  # thread, and number of threads, by call
        self._waiting: deque[object] = deque()

    def set(self, threads: int) -> None:
        """Set the limit; arguments and errors as for `limit_threads`."""
        if type(threads) is not int or not 1 <= threads <= MAX_THREADS:
            raise ConfigError(f"threads is {shown(threads)}; expected a whole number from 1 to {MAX_THREADS}")
        with self._lock:
            if self._is_used and threads != self._limit:
                raise ConfigError(
                    f"limit_threads({threads}) is called after a network was opened; call it before the first "
                    f"recognizer, detector or tracker, or set {VARIABLE}={threads}"
                )
            self._limit, self._is_set = threads, True

    def get(self) -> int | None:
        """Return the limit; None without one.

        Raises:
            ConfigError: Environment variable that is not a number of threads.
        """
        with self._lock:
            if not self._is_set:
                text = os.environ.get(VARIABLE, "").strip()
                if text and not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_THREADS):
                    raise ConfigError(
                        f"the environment variable {VARIABLE} is {shown(text)}; expected a whole number from 1 to "
                        f"{MAX_THREADS}, or none"
                    )
                self._limit, self._is_set = int(text) if text else None, True
            return self._limit

    def threads_of_network(self, threads: int | None, *, respects_affinity: bool) -> int | None:
        """Return the number of threads of a network that is opened; None for the engine's own default.

        Args:
            threads: Number of threads that the caller has set; a higher one than the limit is lowered to it. None: the
                default of this machine.
            respects_affinity: Whether the engine counts only processors that the process may use.
        """
        with self._lock:
            limit, self._is_used = self.get(), True
        threads = threads or default_threads(respects_affinity=respects_affinity)
        return threads if limit is None else min(threads or processors(), limit)

    def acquire(self, call: object, threads: int | None) -> None:
        """Wait until a network may run; follow it by `release`, also after an exception.

        Args:
            call: Object that runs the network, one call at a time.
            threads: Number of CPU threads of the network; 0 or None are not counted.
        """
        limit = self._limit
        if limit is None or not threads:
            return
        with self._lock:
            self._running.pop(call, None)  # of a call that Ctrl-C ended before its release
            thread = threading.get_ident()
            if not is_exit_thread() and all(thread != other for other, _ in self._running.values()):
                self._waiting.append(call)
                try:
                    while self._waiting[0] is not call or self._count() + threads > limit:
                        self._changed.wait()
                finally:
                    self._waiting.remove(call)
                    self._changed.notify_all()
            self._running[call] = thread, threads

    def release(self, call: object) -> None:
        """Let other networks run; without effect if the call has not acquired threads."""
        if self._limit is None:
            return
        with self._lock:
            if self._running.pop(call, None) is not None:
                self._changed.notify_all()

    def _count(self) -> int:
        return sum(threads for _, threads in self._running.values())


def limit_threads(threads: int) -> None:
    """Limit the CPU threads that all recognizers, detectors and trackers of this process use together.

    Call it before the first of them is opened. The environment variable FER_EDGE_THREADS has the same effect. Each
    network then has at most this number of threads, also where its argument `threads` is higher, and a call waits while
    the others use all of them. GPUs, and the threads of the app itself, are not counted.

    Args:
        threads: Number of threads, 1 to 1024.

    Raises:
        ConfigError: Number out of range, or a network that was opened before with another limit.
    """
    LIMIT.set(threads)


LIMIT = ThreadLimit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=LIMIT.renew)
