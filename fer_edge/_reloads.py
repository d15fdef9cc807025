"""Reloads of a bundle in a long-running command: when its file is replaced, and on SIGHUP."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fer_edge._text import one_line
from fer_edge.errors import FerEdgeError
from fer_edge.signing import signature_path

PERIOD = 1.0  # seconds from look to look at the files
HANGUP: Any = getattr(signal, "SIGHUP", None)  # missing on Windows


class Reloads:
    """Context manager whose thread reloads a bundle.

    A file counts as replaced when it has changed since the last attempt, and not since the last look, so that a file
    that is being written is left alone. SIGHUP is caught in the main thread only; it reloads at once.

    Args:
        bundle: Path of the bundle, whose signature beside it is watched too.
        reload: Function that loads the bundle again.
        note: Function that writes one sentence about each attempt.
    """

    def __init__(self, bundle: Path, reload: Callable[[], object], note: Callable[[str], object]) -> None:
        self._paths = (bundle, signature_path(bundle))
        self._reload, self._note = reload, note
        self._is_signalled = False  # set by the signal handler, which must not wait for a lock
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fer-edge-reload", daemon=True)
        self._former_handler: Any = None
        self._loaded = self._last = self._states()  # before the bundle is opened: a later change is seen

    def __enter__(self) -> Reloads:
        if HANGUP is not None and threading.current_thread() is threading.main_thread():
            self._former_handler = signal.signal(HANGUP, self._receive) or signal.SIG_DFL
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        if self._former_handler is not None:
            signal.signal(HANGUP, self._former_handler)

    def _receive(self, *_: object) -> None:
        self._is_signalled = True

    def _run(self) -> None:
        while not self._end.wait(PERIOD):
            self._look()

    def _look(self) -> None:
        """Reload if that is due."""
        states = self._states()
        is_new = states != self._loaded and states == self._last and states[0] is not None
        self._last = states
        if not (is_new or self._is_signalled):
            return
        self._is_signalled, self._loaded = False, states
        name = self._paths[0].name
        try:
            self._reload()
        except Exception as error:  # whatever failed, the former model stays in use
            reason = str(error) if isinstance(error, FerEdgeError) else f"{type(error).__name__}: {error}"
            self._note(f"{name} is not loaded, the former model stays in use: {one_line(reason)}")
        else:
            self._note(f"loaded {name}")

    def _states(self) -> tuple[tuple[int, ...] | None, ...]:
        """Return what changes with each replacement of a file; None for a missing one."""
        return tuple(map(_state, self._paths))


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
