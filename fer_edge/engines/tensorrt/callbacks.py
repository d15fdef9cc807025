"""TensorRT callbacks: logger, error recorder, progress monitor.

A class that TensorRT calls must derive from a class of the bindings, which are known only once the product is chosen.
Each class is therefore defined inside of a function, and only forwards the call.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from fer_edge._text import one_line

if TYPE_CHECKING:
    from tensorrt_types import Bindings, ErrorCodeTRT, IErrorRecorder, ILogger, IProgressMonitor

Progress = Callable[[str, int, int], None]  # phase, finished steps, number of steps

LOG = logging.getLogger("fer_edge.tensorrt")
LOG.addHandler(logging.NullHandler())  # no output unless the app configures logging
LEVELS = {
    "INTERNAL_ERROR": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "INFO": logging.DEBUG,
    "VERBOSE": logging.NOTSET,
}
MAX_ERRORS = 64  # errors stored per product and per error recorder
NO_CUDA = "CUDA initialization failure"  # logged as a warning, although it is the only message before calls fail


class ErrorLog:
    """Recent errors of one product in this process. Thread-safe.

    TensorRT uses one logger per process: as long as an object created with one logger exists, another logger is
    ignored. All objects therefore share this log, and a caller reads the errors that are newer than its own call.
    """

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()
        self._entries: deque[tuple[int, int, str, str]] = deque(maxlen=MAX_ERRORS)  # number, thread, code, text

    def add(self, code: str, text: str) -> None:
        """Store an error."""
        with self._lock:
            self._entries.append((self.count, threading.get_ident(), code, text.strip()))
            self.count += 1

    def since(self, count: int) -> list[tuple[str, str]]:
        """Return the errors from number `count` on.

        Returns:
            Code and text of each error of the calling thread; of all threads if the calling thread has none.
        """
        with self._lock:
            new = [entry for entry in self._entries if entry[0] >= count]
        own = [entry for entry in new if entry[1] == threading.get_ident()]
        return [(code, text) for _, _, code, text in own or new]


class Messages:
    """The errors in an `ErrorLog` since the last `clear`."""

    def __init__(self, log: ErrorLog) -> None:
        self.log = log
        self._start = log.count

    def clear(self) -> None:
        """Ignore all errors up to now."""
        self._start = self.log.count

    def reason(self) -> str:
        """Return the first two errors for an error message; later errors are usually consequences of these."""
        texts = list(dict.fromkeys(one_line(text) for _, text in self.log.since(self._start)))
        return "; ".join(texts[:2]) or "no reason given"

    def mentions(self, *words: str) -> bool:
        """Return whether the code or text of an error contains one of the words; case is ignored."""
        text = " ".join(f"{code} {text}" for code, text in self.log.since(self._start)).lower()
        return any(word.lower() in text for word in words)


_LOGGERS: dict[Bindings, tuple[ILogger, ErrorLog]] = {}
_LOGGER_LOCK = threading.Lock()  # TensorRT accepts one logger per process: create it once


def logger_for(trt: Bindings) -> tuple[ILogger, Messages]:
    """Return the process's TensorRT logger, and the errors it receives from now on.

    The logger forwards to the Python logger `fer_edge.tensorrt`.
    """
    with _LOGGER_LOCK:
        if trt not in _LOGGERS:
            errors = ErrorLog()
            _LOGGERS[trt] = (_create_logger(trt, errors), errors)
    logger, errors = _LOGGERS[trt]
    return logger, Messages(errors)


def _create_logger(trt: Bindings, errors: ErrorLog) -> ILogger:
    class Logger(trt.ILogger):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: ILogger.Severity, text: str) -> None:
            name = severity.name
            if name in ("ERROR", "INTERNAL_ERROR") or (name == "WARNING" and NO_CUDA in text):
                errors.add(name, text)
            level = LEVELS[name]
            if level and LOG.isEnabledFor(level):
                LOG.log(level, "%s", text)

    return Logger()


def recorder_for(trt: Bindings, messages: Messages) -> IErrorRecorder:
    """Create an error recorder that adds TensorRT's errors and their codes to the log behind `messages`.

    An object with a recorder sends its errors to the recorder instead of the logger, and objects created from it
    inherit the recorder. Set the recorder back to None before the object is freed: a network of TensorRT-RTX 1.7 that
    is freed together with its recorder crashes the process.
    """
    stack: list[tuple[ErrorCodeTRT, str]] = []

    class Recorder(trt.IErrorRecorder):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            trt.IErrorRecorder.__init__(self)

        def report_error(self, code: ErrorCodeTRT, text: str) -> bool:
            messages.log.add(code.name, text)
            LOG.error("%s: %s", code.name, text)
            if len(stack) < MAX_ERRORS:
                stack.append((code, text))
            return False  # TensorRT may continue; the result of the call shows the failure

        def num_errors(self) -> int:
            return len(stack)

        def get_error_code(self, index: int) -> ErrorCodeTRT:
            return stack[index][0]

        def get_error_desc(self, index: int) -> str:
            return stack[index][1]

        def has_overflowed(self) -> bool:
            return len(stack) >= MAX_ERRORS

        def clear(self) -> None:
            stack.clear()

    return Recorder()


class ProgressAdapter:
    """Adapter from TensorRT's nested build phases to a `Progress` callback, with cancellation.

    An exception must not cross native code. An exception of the callback, or Ctrl-C within `catching_interrupts`, is
    stored and cancels the build; `reraise` raises it afterwards.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._steps: dict[str, int] = {}
        self.stopped: BaseException | None = None

    def on_phase_start(self, phase: str, steps: int) -> None:
        """Report the start of a phase."""
        self._steps[phase] = steps
        self._report(phase, 0)

    def on_phase_finish(self, phase: str) -> None:
        """Report the end of a phase."""
        self._report(phase, self._steps.pop(phase, 0))

    def on_step(self, phase: str, step: int) -> bool:
        """Report a finished step.

        Returns:
            Whether the build should continue.
        """
        self._report(phase, step + 1)
        return self.stopped is None

    @contextmanager
    def catching_interrupts(self) -> Iterator[None]:
        """Cancel the build on Ctrl-C.

        Python would raise KeyboardInterrupt inside of the next callback, where TensorRT swallows it.
        """
        in_main_thread = threading.current_thread() is threading.main_thread()
        if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield  # the main thread receives the signal, or the app has installed its own handler
            return

        def interrupt(number: int, frame: FrameType | None) -> None:
            self.stopped = KeyboardInterrupt()

        signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def reraise(self) -> None:
        """Raise the exception that cancelled the build, if any."""
        if self.stopped is not None:
            raise self.stopped

    def _report(self, phase: str, done: int) -> None:
        if self.stopped is not None:
            return
        try:
            self._progress(phase, done, self._steps.get(phase, done))
        except BaseException as error:
            self.stopped = error


def monitor_for(trt: Bindings, adapter: ProgressAdapter) -> IProgressMonitor:
    """Create a progress monitor that forwards to `adapter`."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            adapter.on_phase_start(phase, steps)

        def phase_finish(self, phase: str) -> None:
            adapter.on_phase_finish(phase)

        def step_complete(self, phase: str, step: int) -> bool:
            return adapter.on_step(phase, step)

    return Monitor()
