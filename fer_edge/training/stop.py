"""Ctrl-C and other requests to end, which a run follows once its step is complete."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
SAME_REQUEST = 0.3  # seconds in which a second signal is one more copy of the first, as launchers send them


class TrainingStopped(KeyboardInterrupt):
    """A run that ended early on request, its resume point written.

    Attributes:
        signal: Number of the signal that asked for it.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


class StopSignals:
    """Signals that ask a process to end; a context manager.

    Calling it tells the number of the signal that came, 0 if none did. A second one raises KeyboardInterrupt at once.
    Signals that the process ignores, as under `nohup`, stay ignored. Outside of the main thread none are noted.
    """

    def __init__(self) -> None:
        self._number = 0
        self._at = 0.0
        self._before: dict[int, Any] = {}

    def __call__(self) -> int:
        return self._number

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note) or signal.SIG_DFL
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _note(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if not self._number:
            self._number, self._at = number, now
        elif now - self._at > SAME_REQUEST:
            raise KeyboardInterrupt
