"""What TensorRT says, heard: its log, its error codes and its progress.

The classes that TensorRT calls back must derive from the bindings' own, which are known only when the product is. So
each is made by a function, and holds no more than the call.
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

Progress = Callable[[str, int, int], None]  # phase, steps done, steps in all

LOG = logging.getLogger("fer_edge.tensorrt")
LOG.addHandler(logging.NullHandler())  # a library is silent until its app listens
LEVELS = {
    "INTERNAL_ERROR": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "INFO": logging.DEBUG,
    "VERBOSE": logging.NOTSET,
}
KEPT = 64  # errors a process remembers
NO_CUDA = "CUDA initialization failure"  # only a warning, though it is all that is said before nothing works


class Heard:
    """The errors of one product in this process.

    TensorRT has one logger a process: while an object lives that was made with one, another is ignored. So all objects
    share this one, and whoever calls TensorRT asks for what was said since. Any thread may.
    """

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()
        self._entries: deque[tuple[int, int, str, str]] = deque(maxlen=KEPT)  # number, thread, code, text

    def add(self, code: str, text: str) -> None:
        """Remember an error."""
        with self._lock:
            self._entries.append((self.count, threading.get_ident(), code, text.strip()))
            self.count += 1

    def since(self, count: int) -> list[tuple[str, str]]:
        """Codes and texts since there were `count`: this thread's, or if it has none, those of any other."""
        with self._lock:
            new = [entry for entry in self._entries if entry[0] >= count]
        own = [entry for entry in new if entry[1] == threading.get_ident()]
        return [(code, text) for _, _, code, text in own or new]


class Messages:
    """What TensorRT has complained about since `clear`."""

    def __init__(self, heard: Heard) -> None:
        self.heard = heard
        self._mark = heard.count

    def clear(self) -> None:
        """Forget what was said."""
        self._mark = self.heard.count

    def reason(self) -> str:
        """For an error message: the first errors, since later ones follow from them."""
        texts = list(dict.fromkeys(one_line(text) for _, text in self.heard.since(self._mark)))
        return "; ".join(texts[:2]) or "no reason given"

    def mentions(self, *words: str) -> bool:
        """Whether an error's code or text has one of the words, in any case."""
        said = " ".join(f"{code} {text}" for code, text in self.heard.since(self._mark)).lower()
        return any(word.lower() in said for word in words)


_LISTENERS: dict[Bindings, tuple[ILogger, Heard]] = {}
_FIRST = threading.Lock()  # of two loggers TensorRT would heed one


def logger_for(trt: Bindings) -> tuple[ILogger, Messages]:
    """TensorRT's log into Python's, logger `fer_edge.tensorrt`; and what it complains about from now on."""
    with _FIRST:
        if trt not in _LISTENERS:
            heard = Heard()
            _LISTENERS[trt] = (_logger(trt, heard), heard)
    logger, heard = _LISTENERS[trt]
    return logger, Messages(heard)


def _logger(trt: Bindings, heard: Heard) -> ILogger:
    class Logger(trt.ILogger):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: ILogger.Severity, text: str) -> None:
            name = severity.name
            if name in ("ERROR", "INTERNAL_ERROR") or (name == "WARNING" and NO_CUDA in text):
                heard.add(name, text)
            level = LEVELS[name]
            if level and LOG.isEnabledFor(level):
                LOG.log(level, "%s", text)

    return Logger()


def recorder_for(trt: Bindings, messages: Messages) -> IErrorRecorder:
    """TensorRT's error stack, with its codes, to where `messages` looks.

    An object that has one sends its errors here and not to the log, and what is made from it inherits it. Whoever sets
    one sets None again before the object goes: freed with it, a network of TensorRT-RTX 1.7 crashes the process.
    """
    stack: list[tuple[ErrorCodeTRT, str]] = []

    class Recorder(trt.IErrorRecorder):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            trt.IErrorRecorder.__init__(self)

        def report_error(self, code: ErrorCodeTRT, text: str) -> bool:
            messages.heard.add(code.name, text)
            LOG.error("%s: %s", code.name, text)
            if len(stack) < KEPT:
                stack.append((code, text))
            return False  # TensorRT may go on; the call's result tells that it failed

        def num_errors(self) -> int:
            return len(stack)

        def get_error_code(self, index: int) -> ErrorCodeTRT:
            return stack[index][0]

        def get_error_desc(self, index: int) -> str:
            return stack[index][1]

        def has_overflowed(self) -> bool:
            return len(stack) >= KEPT

        def clear(self) -> None:
            stack.clear()

    return Recorder()


class ProgressListener:
    """Turns TensorRT's nested phases into calls of a `Progress`, and a stop of the user's into a stop of the build.

    An exception must not cross native code: that of the callback is kept, as is Ctrl-C within `catching_interrupts`;
    the build is told to end, and `reraise` raises it afterwards.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._steps: dict[str, int] = {}
        self.stopped: BaseException | None = None

    def started(self, phase: str, steps: int) -> None:
        """A phase began."""
        self._steps[phase] = steps
        self._tell(phase, 0)

    def finished(self, phase: str) -> None:
        """A phase ended."""
        self._tell(phase, self._steps.pop(phase, 0))

    def step(self, phase: str, step: int) -> bool:
        """A step is done; whether to go on."""
        self._tell(phase, step + 1)
        return self.stopped is None

    @contextmanager
    def catching_interrupts(self) -> Iterator[None]:
        """Ctrl-C ends the build. Python would raise it in whichever callback comes next, where TensorRT swallows it."""
        ours = threading.current_thread() is threading.main_thread()
        if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield  # another thread gets it, or an app has its own way with it
            return

        def interrupted(number: int, frame: FrameType | None) -> None:
            self.stopped = KeyboardInterrupt()

        signal.signal(signal.SIGINT, interrupted)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def reraise(self) -> None:
        """Raise what stopped the build, if something did."""
        if self.stopped is not None:
            raise self.stopped

    def _tell(self, phase: str, done: int) -> None:
        if self.stopped is not None:
            return
        try:
            self._progress(phase, done, self._steps.get(phase, done))
        except BaseException as error:
            self.stopped = error


def monitor_for(trt: Bindings, listener: ProgressListener) -> IProgressMonitor:
    """TensorRT's progress monitor, telling `listener`."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            listener.started(phase, steps)

        def phase_finish(self, phase: str) -> None:
            listener.finished(phase)

        def step_complete(self, phase: str, step: int) -> bool:
            return listener.step(phase, step)

    return Monitor()
