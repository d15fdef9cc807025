"""OpenVINO: runs the typed ONNX on CPUs. Part of the core."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from fer_edge.engines.base import (
    IMAGE_SIZE,
    INPUT_NAME,
    OUTPUT_NAMES,
    Artifact,
    BuildRequest,
    BuiltEngine,
    Engine,
    ExecutedOperator,
    Images,
    Prediction,
    Runner,
    RunOptions,
    check_outputs,
)
from fer_edge.engines.messages import COMPILE, LOAD, READ, engine_error, unavailable
from fer_edge.engines.prelu import join_prelus, skip_pairs
from fer_edge.engines.quiet import import_package
from fer_edge.engines.winograd import rewrite_convolutions
from fer_edge.errors import EngineUnavailableError, FerEdgeError, UnsupportedTargetError
from fer_edge.machine import default_threads, processors

# What its runtime model calls element types; u8 and i8 operators run integer kernels.
PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "u8": "int8", "i8": "int8"}
MULTIPLYING = {"Convolution", "GroupConvolution", "FullyConnected", "MatMul"}
NOT_OPERATORS = {"Const", "Input", "Output", "Parameter", "Result"}
# Any of them is enough for it to find the processors.
PROCESSOR_FILES = (
    "/proc/cpuinfo",
    "/sys/devices/system/cpu/cpu0/cache/index0/shared_cpu_list",
    "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq",
)


class OpenVINORunner(Runner):
    """One frame runs on a model compiled for exactly one; other batch sizes on one compiled when first needed.

    A fixed batch spares the plugin its shape inference and memory planning on every call: a sixth of the time of
    a small model, and lets wide convolutions be rewritten (`winograd.py`): an eleventh of `paper`'s. Its tensors are
    bound to arrays once; handing OpenVINO an array with every call costs it 20 microseconds of Python.

    Raises:
        EngineError: The model's input or outputs are not those of a deploy graph.
    """

    title = "OpenVINO"

    def __init__(self, compile_model: Callable[[bool], Any], max_batch: int) -> None:
        super().__init__(max_batch)
        self._compile = compile_model
        self._batch: Any = None
        self._image = np.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        with failures(LOAD):
            self._single = compile_model(True).create_infer_request()
            outputs = {output.get_any_name(): output for output in self._single.model_outputs}
            shapes = {name: tuple(output.shape) if name in OUTPUT_NAMES else () for name, output in outputs.items()}
            check_outputs(shapes)
            names = list(outputs)
            self._outputs = [names.index(name) if name in names else None for name in OUTPUT_NAMES]
            self._found = np.zeros((len(OUTPUT_NAMES), *shapes["probabilities"]), np.float32)  # (outputs, 1, classes)
            self._bind()

    def _bind(self) -> None:
        """Let the request for one image read and write the runner's own arrays."""
        tensor = openvino().Tensor
        self._single.set_input_tensor(tensor(self._image, shared_memory=True))
        for row, index in enumerate(self._outputs):
            if index is not None:
                self._single.set_output_tensor(index, tensor(self._found[row], shared_memory=True))

    def _infer(self, images: Images) -> Prediction:
        if len(images) > 1:
            return self._infer_batch(images)
        np.copyto(self._image, images)
        self._single.infer(share_outputs=True)
        label, text, probabilities = self._found.copy()
        return Prediction(label, None if self._outputs[1] is None else text, probabilities)

    def _infer_batch(self, images: Images) -> Prediction:
        if self._batch is None:
            self._batch = self._compile(False).create_infer_request()
        # The request reads the caller's array in place; results are small and copied, so callers may keep them.
        self._batch.infer([images], share_inputs=True, share_outputs=True)
        label, text, probabilities = (
            None if index is None else np.array(self._batch.get_output_tensor(index).data, np.float32)
            for index in self._outputs
        )
        assert label is not None and probabilities is not None
        return Prediction(label, text, probabilities)

    def _close(self) -> None:
        del self._single, self._batch, self._compile


class OpenVINOEngine(Engine):
    """OpenVINO's CPU plugin, pinned to float32 arithmetic: what the typed graph says is what runs."""

    name = "openvino"
    extra = None

    def version(self) -> str:
        return str(openvino().__version__).split("-")[0]

    def build(self, model: bytes, request: BuildRequest) -> BuiltEngine:
        if set(request.targets) - {"cpu"}:
            raise UnsupportedTargetError(f"openvino builds for cpu; got {', '.join(request.targets)}")
        compiled = self._compile(model, RunOptions(), single=True)  # what it refuses is found now, not on the device
        return BuiltEngine(("cpu",), self.version(), operators=executed_operators(compiled))

    def check_runnable(self) -> None:
        engine = core()
        try:
            engine.get_property("CPU", "FULL_DEVICE_NAME")  # others' drivers, of GPUs, are not started for it
        except Exception as error:
            raise unavailable("OpenVINO", "cannot use the processor", error) from error

    def load(self, artifact: Artifact, options: RunOptions) -> Runner:
        return OpenVINORunner(lambda single: self._compile(artifact.model, options, single=single), artifact.max_batch)

    def network_for_one(self, model: bytes) -> Any:
        """The `openvino.Model` that a single image runs on.

        Raises:
            EngineError: OpenVINO refused the typed ONNX.
        """
        network = self._read(model)
        with failures(READ):
            network.reshape({INPUT_NAME: [1, IMAGE_SIZE, IMAGE_SIZE, 3]})
        rewrite_convolutions(network)
        return network

    def compile_network(self, network: Any, options: RunOptions, settings: Mapping[str, Any] | None = None) -> Any:
        """Compile an `openvino.Model`.

        Args:
            network: The model.
            options: How to run.
            settings: More properties of the plugin.

        Raises:
            EngineError: OpenVINO refused it.
        """
        chosen: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            # On CPUs with bf16 or f16 units the default lowers precision behind the caller's back.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        threads = options.threads or default_threads(heeds_affinity=True)
        if threads is not None:
            chosen["INFERENCE_NUM_THREADS"] = threads
        if options.threads is None or options.threads < processors():
            # Pinned, every runner sits on the same first cores: two of one thread shared one. And a pinned thread waits
            # for its core while others are idle: with other programs at work on two cores, `edge` at 30 frames a second
            # took 9 to 13 ms pinned, 5 to 6 ms unpinned. Only a runner that is told to take all cores is pinned, as
            # OpenVINO has it: a hundredth faster on a quiet machine.
            chosen["ENABLE_CPU_PINNING"] = False
        chosen |= settings or {}
        with failures(COMPILE):
            return core().compile_model(network, "CPU", chosen)

    def _read(self, model: bytes) -> Any:
        with failures(READ):
            network = core().read_model(model)
        join_prelus(network)
        skip_pairs(network)
        return network

    def _compile(self, model: bytes, options: RunOptions, *, single: bool) -> Any:
        return self.compile_network(self.network_for_one(model) if single else self._read(model), options)


def executed_operators(compiled: Any) -> tuple[ExecutedOperator, ...]:
    """What a compiled model runs, from its runtime model."""
    found = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        kind = _text(info, "layerType")
        if kind in NOT_OPERATORS:
            continue
        names = tuple(name for name in _text(info, "originalLayersNames").split(",") if name)
        # A subgraph is a kernel compiled from several operators; attention's products run in one.
        multiplies = kind in MULTIPLYING or (kind == "Subgraph" and any("MatMul" in name for name in names))
        element = _text(info, "runtimePrecision")
        found.append(ExecutedOperator(kind, PRECISIONS.get(element, element), names, multiplies))
    return tuple(found)


@contextmanager
def failures(action: str) -> Iterator[None]:
    """Raise OpenVINO's own errors as fer-edge's.

    Args:
        action: What fails, as `engine_error` takes it.
    """
    try:
        yield
    except FerEdgeError:
        raise
    except Exception as error:  # RuntimeError of most, MemoryError, TypeError of its bindings
        raise engine_error("OpenVINO", action, error) from error


def _text(info: Any, key: str) -> str:
    return str(info[key].astype(str)) if key in info else ""


class _Process:
    """What this process has of OpenVINO.

    A forked process has none of the threads that the parent's models ran on, and OpenVINO does not know: a model that
    is compiled there may get the threads of one that was closed, and wait for ever. One that was open runs on.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()  # around Core
        self.core: Any = None
        self.started = False  # whether there is a Core, or one is being made
        self.forked_late = False  # whether it was forked from one that had started OpenVINO

    def after_fork(self) -> None:
        """In the forked process: the lock may be held by a thread that is not there."""
        self.lock = threading.RLock()
        self.forked_late = self.started
        if self.core is not None:
            # One reference too many: destroyed when the process ends, the Core would wait for its threads.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.core))


PROCESS = _Process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PROCESS.after_fork)


def core() -> Any:
    """This process's `openvino.Core`: the one that everything here uses, until the process ends.

    On Linux the CPU plugin of each gives the thread that made it a stack for signals, and unmaps it when it goes,
    without asking what the thread uses by then. After two that go in the order they came, Python's next signal, a
    Ctrl-C, crashes the process.

    Raises:
        EngineUnavailableError: The package cannot be imported, OpenVINO does not start, or it was started before this
            process was forked.
    """
    if PROCESS.forked_late:
        raise EngineUnavailableError(
            "OpenVINO was started before this process was forked; start processes with multiprocessing's 'spawn' or "
            "'forkserver', or open the first recognizer after the fork"
        )
    with PROCESS.lock:
        if PROCESS.core is None:
            _check_processor_files()
            make_core = openvino().Core
            PROCESS.started = True
            try:
                PROCESS.core = make_core()
            except Exception as error:
                raise unavailable("OpenVINO", "does not start", error) from error
        return PROCESS.core


def _check_processor_files() -> None:
    """Refuse to start where OpenVINO would look for the processors without end.

    Without what the kernel tells below /sys it reads /proc/cpuinfo until the file's end, also if it could not open it.

    Raises:
        EngineUnavailableError: Neither can be read.
    """
    if sys.platform == "linux" and not any(os.access(file, os.R_OK) for file in PROCESSOR_FILES):
        raise EngineUnavailableError(
            "OpenVINO cannot find out which processors there are: neither /proc/cpuinfo nor /sys/devices/system/cpu "
            "can be read; mount /proc or /sys in this container or chroot, or use the engine onnxruntime"
        )


def openvino() -> Any:
    """The package.

    Raises:
        EngineUnavailableError: It cannot be imported.
    """
    try:
        return import_package("openvino")
    except Exception as error:  # native code fails to load in ways of its own
        raise unavailable("OpenVINO", "cannot be imported", error, "pip install openvino") from error


ENGINE = OpenVINOEngine()
