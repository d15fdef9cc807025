"""What TensorRT and CUDA say, and what it means for a user."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from fer_edge.engines.tensorrt.api import Api
from fer_edge.engines.tensorrt.callbacks import Messages
from fer_edge.engines.tensorrt.device import CudaError
from fer_edge.errors import BundleMismatchError, EngineError, EngineUnavailableError

Made = TypeVar("Made")

REBUILD = "build it again with: fer-edge build-engine"
# Words of TensorRT's messages -> the error to raise, and what to do. The first that is said decides.
LOADING: tuple[tuple[tuple[str, ...], type[Exception], str], ...] = (
    (
        ("driver version is insufficient", "OLD_CUDA_DRIVER", "cudaError 35", "initialization failure with error: 35"),
        EngineUnavailableError,
        "the NVIDIA driver is too old for these packages, or missing: update it, or install the packages for an older "
        "CUDA; fer-edge doctor says which fit",
    ),
    (
        ("no CUDA-capable device", "cudaError 100", "initialization failure with error: 100"),
        EngineUnavailableError,
        "the driver finds no GPU; in a container run it with --gpus all",
    ),
    (
        ("host code", "lean runtime"),
        EngineError,
        "the file is version-compatible and brings native code of TensorRT with it, which is not run unasked: if you "
        "trust where it comes from, allow it with --allow-host-code, in Python with allow_host_code=True",
    ),
    (
        ("compute capability", "UNSUPPORTED_CC", "generated on"),
        BundleMismatchError,
        f"it was built for another GPU: {REBUILD} --target TARGET, where fer-edge doctor names this one's",
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
        "the GPU's memory is full: close what else uses it, or build with a smaller max_batch",
    ),
    (
        ("OLD_CUDA_RUNTIME", "undefined symbol", "libcudart"),
        EngineUnavailableError,
        "the CUDA packages are not of one version; fer-edge doctor lists them",
    ),
    (("MALFORMED_ENGINE",), EngineError, f"it is damaged or no engine: {REBUILD}"),
)


def started(api: Api, what: str, make: Callable[[], Made], messages: Messages) -> Made:
    """Make a builder, runtime or refitter. Where CUDA does not start, the bindings give a TypeError without a reason.

    Args:
        api: The bindings.
        what: What is made, for the message.
        make: Makes it; as a traceback keeps it, it holds no engine itself.
        messages: What TensorRT says meanwhile.

    Raises:
        EngineUnavailableError: It does not start on this machine; says why.
    """
    try:
        return make()
    except TypeError as error:  # what pybind11 makes of a null pointer
        raise _not_started(f"{api.name}'s {what} does not start", messages) from error


def _not_started(problem: str, messages: Messages) -> EngineUnavailableError:
    told = _explained(messages, EngineUnavailableError)  # the others are about a file
    if told is not None:
        return EngineUnavailableError(f"{problem}; {told[1]}. It said: {messages.reason()}")
    return EngineUnavailableError(
        f"{problem}: {messages.reason()}. TensorRT builds on the GPU it builds for, and runs there: it needs one here, "
        "with its driver; see: fer-edge doctor"
    )


def _explained(messages: Messages, wanted: type[Exception] = Exception) -> tuple[type[Exception], str] | None:
    """The error and the advice for what was said; of errors of a kind only, if it is given."""
    rows = ((kind, advice) for words, kind, advice in LOADING if issubclass(kind, wanted) and messages.mentions(*words))
    return next(rows, None)


def loading_failed(name: str, messages: Messages) -> Exception:
    """The error for an engine file that TensorRT did not take."""
    told = _explained(messages)
    if told is not None:
        kind, advice = told
        return kind(f"{name} does not load the engine; {advice}. It said: {messages.reason()}")
    return EngineError(f"{name} does not load the engine: {messages.reason()}; {REBUILD}")


def cuda_failed(error: CudaError, doing: str) -> EngineError:
    """The error for a failed call of the driver."""
    if error.sticky:
        return EngineError(
            f"CUDA failed while {doing}: {error}. The GPU's state is lost for this process: the runner is closed, and "
            "every other use of the GPU here will fail; start the process anew"
        )
    if error.out_of_memory:
        return EngineError(
            f"the GPU's memory is full while {doing}: {error}; close what else uses it, or build with a smaller "
            "max_batch"
        )
    return EngineError(f"CUDA failed while {doing}: {error}")
