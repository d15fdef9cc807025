"""Stop signals (Ctrl-C, SIGTERM, SIGHUP), which long work obeys after its current step or frame."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
REPEAT_SECONDS = 0.3  # launchers send one request as several signals: those within this time count as one


class StopSignals:
    """Context manager that catches stop signals; a call returns the number of the caught signal, or 0.

    A second signal raises KeyboardInterrupt at once. Signals that the process ignores, as under `nohup`, stay ignored.
    Outside of the main thread no signals are caught.
    """

    def __init__(self) -> None:
        self._number = 0
        self._at = 0.0
        self._handlers: dict[int, Any] = {}

    def __call__(self) -> int:
        return self._number

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._handlers[number] = signal.signal(number, self._receive) or signal.SIG_DFL
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _receive(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if not self._number:
            self._number, self._at = number, now
        elif now - self._at > REPEAT_SECONDS:
            raise KeyboardInterrupt
