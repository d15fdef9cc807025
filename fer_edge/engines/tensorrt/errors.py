"""Messages of TensorRT and CUDA: the logger and error recorder that receive them, and errors with cause and remedy.

A class that TensorRT calls must derive from a class of the bindings, which are known only once the product is chosen.
Each class is therefore defined inside of a function, and only forwards the call.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from fer_edge._text import one_line
from fer_edge.engines.tensorrt.api import LOG, Api
from fer_edge.engines.tensorrt.cuda import CudaError
from fer_edge.errors import BundleMismatchError, EngineError, EngineUnavailableError

if TYPE_CHECKING:
    from tensorrt_types import Bindings, ErrorCodeTRT, IErrorRecorder, ILogger

Created = TypeVar("Created")

LEVELS = {
    "INTERNAL_ERROR": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "INFO": logging.DEBUG,
    "VERBOSE": logging.NOTSET,
}
MAX_ERRORS = 64  # errors stored per product and per error recorder
NO_CUDA = "CUDA initialization failure"  # logged as a warning, although it is the only message before calls fail
REBUILD = "build it again with: fer-edge build-engine"
# (words of TensorRT's messages, error to raise, cause and remedy). The first row with a matching word is used.
CAUSES: tuple[tuple[tuple[str, ...], type[Exception], str], ...] = (
    (
        ("driver version is insufficient", "OLD_CUDA_DRIVER", "cudaError 35", "initialization failure with error: 35"),
        EngineUnavailableError,
        "the NVIDIA driver is too old for these packages, or missing: update it, or install the packages for an older "
        "CUDA; fer-edge doctor lists the versions",
    ),
    (
        ("no CUDA-capable device", "cudaError 100", "initialization failure with error: 100"),
        EngineUnavailableError,
        "the driver finds no GPU; in a container run it with --gpus all",
    ),
    (
        ("host code", "lean runtime"),
        EngineError,
        "the file is version-compatible and contains native code of TensorRT, which is not run by default: if you "
        "trust its origin, allow it with --allow-host-code, in Python with allow_host_code=True",
    ),
    (
        ("compute capability", "UNSUPPORTED_CC", "generated on"),
        BundleMismatchError,
        f"it was built for another GPU: {REBUILD} --gpu-arch ARCH; fer-edge doctor shows the architecture of this GPU",
    ),
    (
        ("serialization version", "version tag", "VERSION_MISMATCH", "magic tag", "magicTag"),
        BundleMismatchError,
        f"it was built with another version of TensorRT: {REBUILD}, or install that version",
    ),
    (
        ("platform", "different operating system"),
        BundleMismatchError,
        f"it was built for another operating system: {REBUILD} on this one",
    ),
    (
        ("out of memory", "OutOfMemory", "FAILED_ALLOCATION", "INSUFFICIENT_GPU_MEMORY"),
        EngineError,
        "the GPU's memory is full: close other programs that use it, or build with a smaller max_batch",
    ),
    (
        ("OLD_CUDA_RUNTIME", "undefined symbol", "libcudart"),
        EngineUnavailableError,
        "the CUDA packages have different versions; fer-edge doctor lists them",
    ),
    (("MALFORMED_ENGINE",), EngineError, f"it is damaged or not an engine: {REBUILD}"),
)


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


def create_object(api: Api, kind: str, create: Callable[[], Created], messages: Messages) -> Created:
    """Create a builder, runtime or refitter, and explain a failure.

    The bindings raise a TypeError without a reason if CUDA does not start.

    Args:
        api: Bindings.
        kind: Name of the object for the message, `builder`.
        create: Constructor. It must not hold a reference to an engine, since tracebacks keep it alive.
        messages: Errors that TensorRT reports meanwhile.

    Raises:
        EngineUnavailableError: Object that does not start on this machine, with the reason.
    """
    try:
        return create()
    except TypeError as error:  # pybind11 raises it for a null pointer
        problem, reason = f"{api.name}'s {kind} does not start", messages.reason()
        cause = _find_cause(messages, EngineUnavailableError)  # the other causes concern an engine file
        if cause is not None:
            raise EngineUnavailableError(f"{problem}; {cause[1]}. TensorRT reports: {reason}") from error
        raise EngineUnavailableError(
            f"{problem}: {reason}. TensorRT builds and runs engines on the same type of GPU: this machine needs an "
            "NVIDIA GPU with its driver; see: fer-edge doctor"
        ) from error


def _find_cause(messages: Messages, kind: type[Exception] = Exception) -> tuple[type[Exception], str] | None:
    """Return error type and explanation of the first row of `CAUSES` that raises `kind` and matches."""
    rows = ((error, text) for words, error, text in CAUSES if issubclass(error, kind) and messages.mentions(*words))
    return next(rows, None)


def loading_error(name: str, messages: Messages) -> Exception:
    """Return the error for an engine file that TensorRT does not load."""
    cause = _find_cause(messages)
    if cause is not None:
        kind, text = cause
        return kind(f"{name} does not load the engine; {text}. TensorRT reports: {messages.reason()}")
    return EngineError(f"{name} does not load the engine: {messages.reason()}; {REBUILD}")


def driver_error(error: CudaError, activity: str) -> EngineError:
    """Return the error for a failed driver call during an activity such as `running`."""
    if error.sticky:
        return EngineError(
            f"CUDA failed while {activity}: {error}. The GPU's state is lost for this process: the runner is closed, "
            "and every other use of the GPU in this process will fail; start the process again"
        )
    if error.out_of_memory:
        return EngineError(
            f"the GPU's memory is full while {activity}: {error}; close other programs that use it, or build with a "
            "smaller max_batch"
        )
    return EngineError(f"CUDA failed while {activity}: {error}")
