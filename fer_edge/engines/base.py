"""The engine interface: `Engine` builds from typed ONNX, `Runner` executes a built engine.

Each engine is a module with an `ENGINE` object: see `registry.py`, and docs/extending.md for one in a single file.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from fer_edge._files import as_path
from fer_edge._settings import convert_some
from fer_edge.choices import Precision as Precision  # re-exported: the type of `BuildRequest.precision`
from fer_edge.engines import lifetime
from fer_edge.engines.capabilities import Profiler, SystemReport, TensorReader, TritonBackend
from fer_edge.engines.graph import Graph
from fer_edge.engines.messages import engine_error
from fer_edge.engines.outputs import OUTPUT_NAMES as OUTPUT_NAMES
from fer_edge.engines.outputs import Floats as Floats
from fer_edge.engines.outputs import Prediction as Prediction
from fer_edge.engines.outputs import check_prediction
from fer_edge.engines.quiet import Package
from fer_edge.engines.threads import LIMIT, MAX_THREADS
from fer_edge.errors import (
    ConfigError,
    CopyError,
    EngineError,
    FerEdgeError,
    InputError,
    UnsupportedTargetError,
)

Images = npt.NDArray[np.uint8]

IMAGE_SIZE = 112
INPUT_NAME = "images"
HALF_SCALES = "fer_edge.half_scales"  # metadata key of a typed ONNX model whose int8 scales are float16


class DeviceTiming(NamedTuple):
    """Times of repeated runs by the device's clock, in milliseconds, one value per run."""

    copy_in: npt.NDArray[np.float64]
    compute: npt.NDArray[np.float64]
    copy_out: npt.NDArray[np.float64]


@dataclass(frozen=True)
class BuildRequest:
    """Settings for building an engine from a typed ONNX model."""

    precision: Precision = "fp32"
    targets: tuple[str, ...] = ()  # GPU architectures such as "sm89", or "cpu"; empty: the engine's default
    max_batch: int = 32
    options: Mapping[str, Any] = field(default_factory=dict)  # build options of this engine alone
    # Callback that receives the phase, its number of finished steps and its total number of steps.
    progress: Callable[[str, int, int], None] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ExecutedOperator:
    """One operator that a built engine executes."""

    kind: str  # the engine's name of the operator type
    precision: str  # fp32, fp16, bf16, int8, or the engine's name of any other type
    names: tuple[str, ...]  # nodes of the typed ONNX fused into it, with suffixes that the engine appends
    multiplies: bool  # whether it is a convolution or a matrix product
    reported_by_engine: bool = True  # False: inferred from the strongly typed network


@dataclass(frozen=True)
class BuiltEngine:
    """A built engine and the targets it runs on."""

    targets: tuple[str, ...]
    engine_version: str
    file: bytes | None = field(default=None, repr=False)  # None: the engine compiles the bundle's model.onnx on loading
    platform: str | None = None  # for example "linux-x86_64"; None: the file runs on any platform
    layers: str | None = field(default=None, repr=False)  # JSON of the engine's layer report; None without a report
    operators: tuple[ExecutedOperator, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Artifact:
    """Verified content of a bundle that a runner is created from."""

    model: bytes = field(repr=False)  # the typed ONNX
    file: bytes | None = field(repr=False)  # the engine's own file; None for engines that compile the ONNX on loading
    max_batch: int


@dataclass(frozen=True)
class RunOptions:
    """Options for opening a runner."""

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


SomeRunner = TypeVar("SomeRunner", bound="Runner")


class Runner(ABC):
    """Executes one engine. Any thread may call it; calls run one after another."""

    engine: str | None = None  # name in the registry; None for runners of other kinds
    title = "the engine"  # name in error messages
    has_device = False  # whether it runs on a device with its own clock: see `time_on_device`
    threads: int | None = None  # CPU threads of a run, which count for the limit of the process; None: not counted

    def __init__(self, max_batch: int) -> None:
        self.max_batch = max_batch
        self._closed = False
        self._close_requested = False  # `close` was called during a call, which finishes before the release
        self._lock = lifetime.CallLock()

    def __repr__(self) -> str:
        engine = "" if self.engine is None else f"engine={self.engine!r}, "
        return f"{type(self).__name__}({engine}max_batch={self.max_batch}, closed={self.is_closed})"

    def infer(self, images: Images, *, checked: bool = True) -> Prediction:
        """Run a batch.

        Args:
            images: uint8 RGB, (N, 112, 112, 3), N from 1 to `max_batch`.
            checked: Whether to refuse outputs that contain NaN or infinity, or do not have N rows; default: True.
                Pass False in comparisons that report such outputs themselves.

        Raises:
            InputError: Wrong type, shape or batch size.
            EngineError: The runner is closed, the engine failed, or its outputs do not have N rows.
            NonFiniteError: NaN or infinity in the outputs.
        """
        with self.exclusive():
            try:
                return self.run(images, checked=checked)
            finally:
                self.settle()

    def exclusive(self) -> lifetime.CallLock:
        """Return the lock to hold, by `with`, around calls of `run`; call `settle` at the end of the block.

        Raises:
            EngineError: The calling thread is already inside a call, or another one was when this process was forked.
        """
        return self._lock.exclusive()

    def run(self, images: Images, *, checked: bool = True) -> Prediction:
        """Run a batch while holding the lock of `exclusive`; arguments and errors as in `infer`."""
        if self.is_closed:
            raise EngineError("the runner is closed; load the bundle again")
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
            kind = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
            raise InputError(f"images are {kind}; expected a numpy array of uint8")
        if images.ndim != 4 or images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE, 3):
            raise InputError(f"images have shape {images.shape}; expected (N, {IMAGE_SIZE}, {IMAGE_SIZE}, 3), RGB")
        if not 1 <= len(images) <= self.max_batch:
            raise InputError(f"a batch of {len(images)} images; this engine takes 1 to {self.max_batch}")
        try:
            LIMIT.acquire(self, self.threads)
            prediction = self._infer(np.ascontiguousarray(images))
        except FerEdgeError:
            raise
        except Exception as error:  # each engine raises its own exception types
            raise engine_error(self.title, f"failed on a batch of {len(images)}", error) from error
        finally:
            LIMIT.release(self)
        if checked:
            check_prediction(prediction, len(images), self.title)
        return prediction

    def settle(self) -> None:
        """Release the engine at the end of a call during which `close` was called."""
        if self._close_requested and not self._closed:
            self._release()

    @property
    def is_in_call(self) -> bool:
        """True during a call of the calling thread, as in a signal handler."""
        return self._lock.is_held() and not lifetime.is_exit_thread()

    @property
    def is_closed(self) -> bool:
        """True after `close` was called."""
        return self._closed or self._close_requested

    @property
    def is_released(self) -> bool:
        """True after the resources of the engine are released: after `close` and the call that it interrupted."""
        return self._closed

    def input_buffer(self) -> Images:
        """Return an array for `max_batch` images, in the memory that this engine reads fastest, to pass to `infer`."""
        return np.zeros((self.max_batch, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)

    def time_on_device(self, batch: int, repeats: int, *, graph: bool = True) -> DeviceTiming | None:
        """Time `repeats` runs of `batch` images by the device's clock, by default launched as a CUDA graph.

        Returns None if the engine cannot measure these times.
        """
        return None

    def close(self) -> None:
        """Release the engine's resources, after waiting for the call of another thread. May be called twice.

        During a call of the same thread (in a signal handler), the runner is released when that call ends.
        """
        lock = self._lock
        if self._closed or (lock.is_held() and not lifetime.is_exit_thread()):
            self._close_requested = True
        elif lock.orphaned:
            self._closed = True  # the engine would wait for a thread that this forked process does not have
        elif not lifetime.is_exit_thread():
            with lock:
                self._release()
        elif lock.acquire(blocking=False):  # at exit, a thread that is inside a call never returns from it
            self._release()

    def _release(self) -> None:
        if not self._closed:
            self._closed = True
            self._close()

    def __reduce__(self) -> NoReturn:
        """Refuse pickling and copying.

        Raises:
            CopyError: Always.
        """
        raise CopyError(
            "a runner holds an engine of this process and cannot be pickled or copied; load the bundle in each process"
        )

    def __enter__(self: SomeRunner) -> SomeRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _infer(self, images: Images) -> Prediction:
        """Run a checked, contiguous batch."""

    def _close(self) -> None:  # noqa: B027  most engines release their resources when they are garbage-collected
        """Release resources."""


class Engine(ABC):
    """Builds engines from typed ONNX and loads them as runners."""

    name: str
    packages: tuple[Package, ...] = ()  # that it imports
    runs_graphs = False  # whether it has `open_graph`
    for_gpus = False  # whether it builds for GPU architectures, and runs on one of several GPUs; others are for CPUs
    unsigned_int8 = False  # whether it accepts uint8 activations in an int8 graph
    local_options: tuple[str, ...] = ()  # build options that refer to the machine of the build: bundles omit them
    variation = ""  # how the files of two equal builds differ, and why; empty: they are equal
    tensor_reader: type[TensorReader] | None = None  # None: it cannot return inner tensors
    triton: TritonBackend | None = None  # None: Triton Inference Server cannot run it
    system = ""  # name of the system that `report_system` describes, such as NVIDIA; empty: none

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"

    @property
    def profiler(self) -> Profiler | None:
        """Layer profiler; None without one."""
        return None

    def report_system(self) -> SystemReport | None:
        """Diagnose driver, devices and packages that the engine needs; None if it needs none."""
        return None

    @abstractmethod
    def version(self) -> str:
        """Return the version of the installed engine.

        Raises:
            EngineUnavailableError: The engine is not installed; the message contains the command that installs it.
        """

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Validate build options before any work on the model.

        Raises:
            ConfigError: Unknown option, or value out of range.
            UnsupportedTargetError: Option that the installed version does not support.
        """
        for name in options:
            raise ConfigError(f"{self.name} has no build option {name!r}; it takes none")

    @abstractmethod
    def build(self, model: bytes, request: BuildRequest) -> BuiltEngine:
        """Compile a typed ONNX model.

        Raises:
            EngineUnavailableError: The engine is not installed.
            UnsupportedTargetError: Target or precision that this engine cannot build.
            EngineError: The engine refused the model.
        """

    def check_buildable(self) -> None:  # noqa: B027  most engines build wherever they are installed
        """Check that this machine can build the installed engine; errors as in `check_runnable`."""

    @abstractmethod
    def check_runnable(self) -> None:
        """Check that this machine can execute the engine.

        Raises:
            EngineUnavailableError: It cannot; the message contains the reason and the remedy.
        """

    def local_target(self, device: int = 0) -> str:
        """Return the build target of the device with this index; "cpu" unless overridden.

        Raises:
            EngineUnavailableError: No device with this index.
        """
        return "cpu"

    def runs_version(self, built: str) -> bool:
        """Return whether the installed engine runs files of version `built`; by default, only its own version."""
        return built == self.version()

    def runs_target(self, built: tuple[str, ...], local: str) -> bool:
        """Return whether a file for the targets `built` runs on the device `local`."""
        return local in built

    @abstractmethod
    def load(self, artifact: Artifact, options: RunOptions) -> Runner:
        """Create a runner.

        Raises:
            EngineUnavailableError: The engine is not installed, or this machine has no device for it.
            EngineError: The engine refused the file.
        """

    def open_graph(self, model: bytes, options: RunOptions) -> Graph:
        """Read an ONNX graph that is not part of a bundle, such as a face detector.

        Raises:
            EngineUnavailableError: The engine is not installed.
            UnsupportedTargetError: The engine runs bundles only.
            EngineError: The engine refused the graph, or the graph has several inputs.
        """
        raise UnsupportedTargetError(f"{self.name} runs bundles only; use openvino or onnxruntime")
