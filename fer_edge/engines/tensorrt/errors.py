"""Translation of TensorRT and CUDA errors into fer-edge errors with cause and remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from fer_edge.engines.tensorrt.api import Api
from fer_edge.engines.tensorrt.callbacks import Messages
from fer_edge.engines.tensorrt.device import CudaError
from fer_edge.errors import BundleMismatchError, EngineError, EngineUnavailableError

Created = TypeVar("Created")

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
        raise _start_error(f"{api.name}'s {kind} does not start", messages) from error


def _start_error(problem: str, messages: Messages) -> EngineUnavailableError:
    cause = _find_cause(messages, EngineUnavailableError)  # the other causes concern an engine file
    if cause is not None:
        return EngineUnavailableError(f"{problem}; {cause[1]}. TensorRT reports: {messages.reason()}")
    return EngineUnavailableError(
        f"{problem}: {messages.reason()}. TensorRT builds and runs engines on the same type of GPU: this machine needs "
        "an NVIDIA GPU with its driver; see: fer-edge doctor"
    )


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
