"""The seam between fer-edge and engines: what an engine builds, and the runner that executes it.

An engine is one module of this package with an `ENGINE` object; `available.py` knows their names.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from fer_edge._files import as_path
from fer_edge._settings import convert_some
from fer_edge.engines import lifetime
from fer_edge.engines.messages import engine_error
from fer_edge.errors import ConfigError, CopyError, EngineError, FerEdgeError, InputError, NonFiniteError

Precision = Literal["fp32", "fp16", "int8", "mixed"]  # mixed: int8, but for layers that were kept in float
Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

IMAGE_SIZE = 112
MAX_THREADS = 1024
INPUT_NAME = "images"
OUTPUT_NAMES = ("label_logits", "text_logits", "probabilities")
HALF_SCALES = "fer_edge.half_scales"  # in the metadata of a typed ONNX whose int8 has float16 scales


class DeviceTiming(NamedTuple):
    """Milliseconds on the device's own clock, one value a run."""

    copy_in: npt.NDArray[np.float64]
    compute: npt.NDArray[np.float64]
    copy_out: npt.NDArray[np.float64]


class Prediction(NamedTuple):
    """Outputs for a batch. Arrays belong to the caller: a runner does not write into them again."""

    label_logits: Floats  # (N, classes)
    text_logits: Floats | None  # (N, classes); None where the model has no text head
    probabilities: Floats  # (N, classes); each row sums to 1


@dataclass(frozen=True)
class BuildRequest:
    """What an engine is asked to build from a typed ONNX model."""

    precision: Precision = "fp32"
    targets: tuple[str, ...] = ()  # empty: the engine's default
    max_batch: int = 32
    options: Mapping[str, Any] = field(default_factory=dict)  # the engine's own
    progress: Callable[[str, int, int], None] | None = None  # told a phase, its steps done and its steps in all


@dataclass(frozen=True)
class ExecutedOperator:
    """One operator of a built engine, as the engine itself reports it."""

    kind: str  # in the engine's own words
    precision: str  # fp32, fp16, bf16, int8, or the engine's name of what is none of these
    names: tuple[str, ...]  # nodes of the typed ONNX that went into it, with what the engine appends
    multiplies: bool  # whether it is one of the engine's convolutions or matrix products
    reported_by_engine: bool = True  # False: inferred from the strongly typed network


@dataclass(frozen=True)
class BuiltEngine:
    """What came of it."""

    targets: tuple[str, ...]
    engine_version: str
    file: bytes | None = None  # None: the engine runs the bundle's model.onnx itself, on any machine
    platform: str | None = None  # "linux-x86_64", where the file is tied to one
    layers: str | None = None  # JSON of the engine's own account of its layers, where it gives one
    operators: tuple[ExecutedOperator, ...] = ()  # what it will execute


@dataclass(frozen=True)
class Artifact:
    """What a runner is made from: verified bytes."""

    model: bytes  # the typed ONNX
    file: bytes | None  # the engine's own file, where it has one
    max_batch: int


@dataclass(frozen=True)
class RunOptions:
    """How to run."""

    # CPU threads of one inference; None: the engine's default.
    threads: Annotated[int, Meta(ge=1, le=MAX_THREADS)] | None = None
    device: Annotated[int, Meta(ge=0)] = 0  # index of the GPU, from 0
    graphs: bool = True  # launch each batch as one CUDA graph; False: launch every layer separately
    # Folder for kernels compiled on this machine, a Path after construction; None: the user's cache folder.
    cache: str | os.PathLike[str] | None = None
    allow_host_code: bool = False  # run the native code embedded in a version-compatible TensorRT engine

    def __post_init__(self) -> None:
        """Check the values: engines accept wrong ones silently, or fail with long messages.

        Raises:
            ConfigError: Value of another type or out of bounds.
        """
        convert_some({name: value for name, value in vars(self).items() if name != "cache"}, RunOptions)
        if self.cache is not None:
            object.__setattr__(self, "cache", as_path(self.cache, "the cache folder", ConfigError))


def check_outputs(shapes: Mapping[str, Sequence[object]]) -> None:
    """Refuse a model whose outputs are not those of a deploy graph.

    Args:
        shapes: Of all outputs, by name; a side that is no number is not known, nor is a shape without sides.

    Raises:
        EngineError: Label logits or probabilities are missing, or outputs are not of one number of classes.
    """
    if not {"label_logits", "probabilities"} <= set(shapes):
        raise EngineError(
            f"the model has outputs {', '.join(shapes) or '(none)'}; expected label_logits, probabilities and, with a "
            "text head, text_logits: build the bundle again"
        )
    found = {name: tuple(shapes[name]) for name in OUTPUT_NAMES if shapes.get(name)}
    widths = {shape[1:] for shape in found.values() if isinstance(shape[-1], int) or len(shape) != 2}
    if len(widths) > 1 or any(len(width) != 1 for width in widths):
        told = ", ".join(f"{name} {shape}" for name, shape in found.items())
        raise EngineError(
            f"the model's outputs are {told}; expected (N, classes), of as many classes each: build the bundle again"
        )


def check_prediction(prediction: Prediction, count: int, title: str = "the engine") -> None:
    """Refuse outputs that say nothing about the images.

    Args:
        prediction: Outputs of a batch.
        count: Number of images in the batch.
        title: Name of the engine, as messages call it.

    Raises:
        EngineError: An output has another number of rows than there are images.
        NonFiniteError: An output holds NaN or infinity.
    """
    for name, values in zip(OUTPUT_NAMES, prediction, strict=True):
        if values is None:
            continue
        if len(values) != count:
            raise EngineError(
                f"{title} gave {len(values)} rows of {name} for {count} images: the model has a fixed number of rows; "
                "build the bundle again"
            )
        if np.count_nonzero(np.isfinite(values)) != values.size:
            rows = np.isfinite(values).reshape(count, -1).all(axis=1)
            raise NonFiniteError(
                f"the model's outputs are NaN or infinite for image {int(rows.argmin()) + 1} of the batch of {count} "
                f"({name}): its weights or activations overflow; use another checkpoint, or build the bundle in fp32"
            )


SomeRunner = TypeVar("SomeRunner", bound="Runner")


class Runner(ABC):
    """Executes one engine. Any thread may call it: calls take turns."""

    title = "the engine"  # as messages call it
    has_device = False  # whether it runs on a device with a clock of its own: see `time_on_device`

    def __init__(self, max_batch: int) -> None:
        self.max_batch = max_batch
        self._closed = False
        self._close_asked = False  # by a signal handler in the middle of a call, which is to end first
        self._lock = lifetime.CallLock()

    def infer(self, images: Images, *, checked: bool = True) -> Prediction:
        """Run a batch.

        Args:
            images: uint8 RGB, (N, 112, 112, 3), N from 1 to `max_batch`.
            checked: Whether outputs are refused that are NaN, infinite or not of N rows; True by default. False is
                for comparisons that report these themselves.

        Raises:
            InputError: Type, shape or batch size is another.
            EngineError: The runner is closed, the engine failed, or gave outputs for another number of images.
            NonFiniteError: Outputs are NaN or infinite.
        """
        with self.exclusive():
            try:
                return self.run(images, checked=checked)
            finally:
                self.settle()

    def exclusive(self) -> lifetime.CallLock:
        """Lock for a `with` statement around calls of `run`; `settle` comes at the end of the block.

        Raises:
            EngineError: The calling thread is in the middle of a call, or the thread that was is not in this process.
        """
        lock = self._lock
        if lock.is_held():
            if not lifetime.exiting_here():
                raise EngineError(
                    "called in the middle of another call of the same thread, as from a signal handler; wait until "
                    "that call has returned, or use a recognizer of its own"
                )
        elif lifetime.PROCESS.exiting is not None and lifetime.exiting_here() and not lock.acquire(blocking=False):
            raise EngineError("the process is ending while another thread is in a call; stop that thread before")
        if lock.lost:
            raise EngineError(
                "another thread was in a call when this process was forked; open the bundle again in this process"
            )
        return lock

    def run(self, images: Images, *, checked: bool = True) -> Prediction:
        """Run a batch while the lock of `exclusive` is held; arguments and errors as of `infer`."""
        if self.is_closed:
            raise EngineError("the runner is closed; load the bundle again")
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
            got = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
            raise InputError(f"images are {got}; expected a numpy array of uint8")
        if images.ndim != 4 or images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE, 3):
            raise InputError(f"images have shape {images.shape}; expected (N, {IMAGE_SIZE}, {IMAGE_SIZE}, 3), RGB")
        if not 1 <= len(images) <= self.max_batch:
            raise InputError(f"a batch of {len(images)} images; this engine takes 1 to {self.max_batch}")
        try:
            prediction = self._infer(np.ascontiguousarray(images))
        except FerEdgeError:
            raise
        except Exception as error:  # engines have exceptions of their own
            raise engine_error(self.title, f"failed on a batch of {len(images)}", error) from error
        if checked:
            check_prediction(prediction, len(images), self.title)
        return prediction

    def settle(self) -> None:
        """Close the runner at the end of a call, if that was asked for in the middle of it."""
        if self._close_asked and not self._closed:
            self._release()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed or self._close_asked

    @property
    def is_released(self) -> bool:
        """Whether what the engine holds was released: not before the call ends in which `close` was called."""
        return self._closed

    def input_buffer(self) -> Images:
        """An array for `max_batch` images, to fill and hand to `infer`; in memory that suits the engine."""
        return np.zeros((self.max_batch, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)

    def time_on_device(self, batch: int, repeats: int, *, graph: bool = True) -> DeviceTiming | None:
        """Time on the device's own clock, with or without launching a graph; None where the engine cannot."""
        return None

    def close(self) -> None:
        """Release what the engine holds, when the call of another thread has ended. Closing twice is fine.

        In the middle of a call of the same thread, as from a signal handler, the runner is closed when that call ends.
        """
        lock = self._lock
        if self._closed or (lock.is_held() and not lifetime.exiting_here()):
            self._close_asked = True
        elif lock.lost:
            self._closed = True  # the engine waits for the thread that this forked process lacks
        elif lifetime.PROCESS.exiting is None or not lifetime.exiting_here():
            with lock:
                self._release()
        elif lock.acquire(blocking=False):  # at exit another thread may be inside, that never comes out
            self._release()

    def _release(self) -> None:
        if not self._closed:
            self._closed = True
            self._close()

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied.

        Raises:
            CopyError: Always.
        """
        raise CopyError(
            "a runner holds an engine of this process and cannot be pickled or copied; load the bundle in each process"
        )

    def __enter__(self: SomeRunner) -> SomeRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _infer(self, images: Images) -> Prediction:
        """Run a checked, contiguous batch."""

    def _close(self) -> None:  # noqa: B027  most engines free what they hold when it is collected
        """Release resources."""


class Engine(ABC):
    """Builds engines from typed ONNX and loads them as runners."""

    name: str
    extra: str | None  # of `pip install fer-edge[extra]`; None: part of the core
    for_gpus = False  # whether it builds for GPU targets; others build for CPUs alone

    @abstractmethod
    def version(self) -> str:
        """Version of the installed engine.

        Raises:
            EngineUnavailableError: It is not installed; names the extra to install.
        """

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Refuse build options that cannot be right, before time is spent on the model.

        Raises:
            ConfigError: A name is not known or a value is out of range.
            UnsupportedTargetError: The installed version lacks an option.
        """
        for name in options:
            raise ConfigError(f"{self.name} has no build option {name!r}; it has none")

    @abstractmethod
    def build(self, model: bytes, request: BuildRequest) -> BuiltEngine:
        """Compile a typed ONNX model.

        Raises:
            EngineUnavailableError: The engine is not installed.
            UnsupportedTargetError: A target or precision that this engine cannot build.
            EngineError: The engine refused the model.
        """

    def check_buildable(self) -> None:  # noqa: B027  most engines build wherever they are installed
        """Whether this machine can build the engine, once it is installed.

        Raises:
            EngineUnavailableError: It cannot; says why and what would help.
        """

    @abstractmethod
    def check_runnable(self) -> None:
        """Whether this machine can execute the engine.

        Raises:
            EngineUnavailableError: It cannot; says why and what would help.
        """

    def local_target(self, device: int = 0) -> str:
        """What a device of this machine is called as a build target; "cpu" unless the engine says otherwise.

        Args:
            device: Which one, as in `RunOptions`.

        Raises:
            EngineUnavailableError: There is no such device.
        """
        return "cpu"

    def runs_version(self, built: str) -> bool:
        """Whether the installed engine runs a file of the version `built`; only its own unless the engine says so."""
        return built == self.version()

    def runs_target(self, built: tuple[str, ...], local: str) -> bool:
        """Whether a file for the targets `built` runs on the device `local`."""
        return local in built

    @abstractmethod
    def load(self, artifact: Artifact, options: RunOptions) -> Runner:
        """Make a runner.

        Raises:
            EngineUnavailableError: The engine is not installed or has no device here.
            EngineError: The engine refused the file.
        """
