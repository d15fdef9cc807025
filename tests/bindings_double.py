"""Simulated TensorRT bindings on `cuda_double`: execution contexts run the same ONNX with ONNX Runtime.

They enforce the rules that TensorRT documents and does not always check: shapes within the profile, aligned addresses,
scratch memory set before a run, one run before a capture, no change of a captured context, contexts freed before their
engine, and no error recorder on an object that is freed.
"""

from __future__ import annotations

import enum
import json
import weakref
from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any, cast

import numpy as np
import onnxruntime

from fer_edge.engines.tensorrt.api import Api, Product
from tests.cuda_double import ALIGNMENT, Gpu

MAGIC = b"double:"
SCRATCH = 4096


class Severity(enum.Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class DataType(enum.Enum):
    FLOAT = 0
    UINT8 = 1


class Validity(enum.Enum):
    VALID = 0
    INVALID = 2


class Diagnostics(enum.Enum):
    VERSION_MISMATCH = 1
    UNSUPPORTED_CC = 2
    OLD_CUDA_DRIVER = 4
    MALFORMED_ENGINE = 32


class ErrorCode(enum.Enum):
    FAILED_EXECUTION = 1


class CallbackBase:
    """Base class of loggers and error recorders."""


def plan(model: bytes, max_batch: int, optimal: tuple[int, ...] = (1,), **header: Any) -> bytes:
    """Return an engine file for the simulated bindings.

    Args:
        model: ONNX model that the engine runs.
        max_batch: Largest batch size.
        optimal: Batch sizes with their own optimisation profile.
        header: Further entries of the header. `stripped`: no weights; `refuses`: error logged on deserialization;
            `diagnostics`: bits of `Diagnostics`.
    """
    profiles = [(1, batch, 1 if batch == 1 and len(optimal) > 1 else max_batch) for batch in optimal]
    return MAGIC + json.dumps({"profiles": profiles, **header}).encode() + b"\n" + model


class Bindings:
    """The module, with the members that fer-edge uses at run time."""

    __version__ = "11.4.0.106"
    start_failures: Mapping[str, str] = MappingProxyType({})  # class that fails to start -> warning logged before

    def __init__(self, gpu: Gpu, context: type[Context] | None = None) -> None:
        self.gpu = gpu
        self.context = context or Context
        self.logger: Any = None
        self.layers_json = '{"Layers": [], "Bindings": []}'  # result of the engine inspector
        self.ILogger = self.IErrorRecorder = CallbackBase
        self.ErrorCodeTRT = ErrorCode
        self.DataType = DataType
        self.EngineValidity = Validity
        self.EngineInvalidityDiagnostics = Diagnostics
        self.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user", STATIC="static")
        self.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")
        self.CudaGraphStrategy = SimpleNamespace(DISABLED="disabled")
        self.LayerInformationFormat = SimpleNamespace(JSON="json")

    def Runtime(self, logger: Any) -> Runtime:
        self.logger = logger
        self.start_cuda("Runtime")
        return Runtime(self)

    def Refitter(self, engine: Engine, logger: Any) -> Refitter:
        refitter = Refitter(engine)
        del engine  # native code does not appear in tracebacks, so it must not hold the engine there
        self.start_cuda("Refitter")
        return refitter

    def OnnxParserRefitter(self, refitter: Any, logger: Any) -> OnnxParserRefitter:
        return OnnxParserRefitter(refitter)

    def log(self, text: str, severity: Severity = Severity.ERROR) -> None:
        """Send a message to the logger."""
        self.logger.log(severity, text)

    def start_cuda(self, kind: str) -> None:
        """Fail as the real bindings do if CUDA does not start: they log the reason as a mere warning."""
        if kind in self.start_failures:
            self.log("Unable to determine GPU memory usage", Severity.WARNING)
            self.log(self.start_failures[kind], Severity.WARNING)
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def outcome(self, name: str, success: Any) -> Any:
        """Return the result of a call: `success`, or that of a fault injected for it, with an error in the log."""
        fault = self.gpu.call(name)
        if fault is None:
            return success
        self.log(f"{name}: Error Code 1: injected")
        return None if fault == "none" else False


def api_double(gpu: Gpu, product: Product = "tensorrt", context: type[Context] | None = None) -> Api:
    """Return the simulated bindings as `find_api` would return real ones."""
    bindings: Any = Bindings(gpu, context)
    return Api(product, bindings, "11.4.0.106" if product == "tensorrt" else "1.7.1.116")


class Runtime:
    """Loads the files that `plan` returns."""

    def __init__(self, trt: Bindings) -> None:
        self.trt = trt
        self.engine_host_code_allowed = False

    def get_engine_validity(self, file: bytes) -> tuple[Validity, int]:
        if not file.startswith(MAGIC):
            return Validity.INVALID, Diagnostics.MALFORMED_ENGINE.value
        diagnostics = json.loads(file[len(MAGIC) :].split(b"\n", 1)[0]).get("diagnostics", 0)
        return (Validity.INVALID if diagnostics else Validity.VALID), diagnostics

    def deserialize_cuda_engine(self, file: bytes) -> Engine | None:
        if not file.startswith(MAGIC):
            self.trt.log("Serialization assertion header.magicTag == kEXPECTED_MAGIC_TAG failed. version tag")
            return None
        line, model = file[len(MAGIC) :].split(b"\n", 1)
        header = json.loads(line)
        refusal = header.get("refuses", "")
        if refusal and not (refusal.startswith("host code") and self.engine_host_code_allowed):
            self.trt.log(refusal)
            return None
        return cast("Engine | None", self.trt.outcome("deserialize", Engine(self.trt, model, header)))


class Engine:
    """A deserialized engine of one model."""

    device_memory_size_v2 = SCRATCH

    def __init__(self, trt: Bindings, model: bytes, header: dict[str, Any]) -> None:
        self.trt = trt
        self.profiles = [tuple(profile) for profile in header["profiles"]]
        self.refittable = bool(header.get("stripped"))
        self.model = None if self.refittable else model
        self.contexts = 0
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        self.tensors = {item.name: item.shape for item in [*inputs, *outputs]}
        self.outputs = [item.name for item in outputs]
        self.num_io_tensors = len(self.tensors)
        self.num_optimization_profiles = len(self.profiles)
        trt.gpu.create("engine")

    def __del__(self) -> None:
        assert not self.contexts, "the engine was freed before its contexts"
        self.trt.gpu.free("engine")

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.UINT8 if name == "images" else DataType.FLOAT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(-1 if isinstance(size, str) else size for size in self.tensors[name])

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        return [(batch, 112, 112, 3) for batch in self.profiles[index]]

    def create_execution_context(self, strategy: Any) -> Context | None:
        name = strategy if isinstance(strategy, str) else strategy.strategy
        assert name == "user", "the runner allocates the scratch memory"
        return cast("Context | None", self.trt.outcome("create_execution_context", self.trt.context(self)))

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig(self.trt)

    def create_engine_inspector(self) -> Any:
        return SimpleNamespace(get_engine_information=lambda form: self.trt.layers_json)


class Context:
    """Execution context that runs a batch with ONNX Runtime when the stream reaches it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.error_recorder: Any = None
        self.addresses: dict[str, int] = {}
        self.shape: tuple[int, ...] | None = None
        self.profile = 0
        self.scratch = 0
        self.version = 0  # number of changes; a graph is valid for the version that it captured
        self.ran = False
        engine.contexts += 1
        engine.trt.gpu.create("execution context")

    def __del__(self) -> None:
        assert self.error_recorder is None, "the context was freed with its error recorder"
        self.engine.contexts -= 1
        self.engine.trt.gpu.free("execution context")

    def _change(self, name: str) -> bool:
        self.version += 1
        self.ran = False
        return cast(bool, self.engine.trt.outcome(name, True))

    def set_device_memory(self, address: int, size: int) -> None:
        assert size >= SCRATCH and address % ALIGNMENT == 0
        self.engine.trt.gpu.memory_at(address, size)
        self.scratch = address

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self.profile = index
        return self._change("set_optimization_profile_async")

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        smallest, _, largest = self.engine.profiles[self.profile]
        assert name == "images" and shape[1:] == (112, 112, 3) and smallest <= shape[0] <= largest
        self.shape = shape
        return self._change("set_input_shape")

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address % ALIGNMENT == 0
        self.addresses[name] = address
        return self._change("set_tensor_address")

    def is_stream_capturable(self, stream: int) -> bool:
        return cast(bool, self.engine.trt.outcome("is_stream_capturable", True))

    def execute_async_v3(self, stream: int) -> bool:
        gpu, trt = self.engine.trt.gpu, self.engine.trt
        assert self.scratch and self.shape is not None and set(self.addresses) == set(self.engine.tensors)
        if gpu.is_capturing(stream):
            assert self.ran, "the context is captured before it has run with these shapes"
        if trt.outcome("execute_async_v3", True) is not True:
            return False
        self.ran = True
        version, batch, reference = self.version, self.shape[0], weakref.ref(self)
        size = batch * 112 * 112 * 3
        source = gpu.memory_at(self.addresses["images"], size)
        targets: dict[str, Any] = {}
        for name in self.engine.outputs:
            classes = self.engine.tensors[name][1]
            memory = gpu.memory_at(self.addresses[name], batch * classes * 4)
            targets[name] = memory.view(np.float32).reshape(batch, classes)

        def work() -> None:
            context = reference()
            assert context is not None, "the context of this work was freed"
            assert context.version == version, "the context of this graph was changed after the capture"
            assert context.engine.model is not None, "the engine has no weights"
            images = source.reshape(batch, 112, 112, 3)
            values = context.engine.session.run(list(targets), {"images": images})
            for name, value in zip(targets, values, strict=True):
                np.copyto(targets[name], value)

        gpu.enqueue(stream, work)
        return True


class RuntimeConfig:
    """Runtime configuration of TensorRT-RTX."""

    def __init__(self, trt: Bindings) -> None:
        self.trt = trt
        self.strategy = ""
        self.cache: RuntimeCache | None = None

    def set_execution_context_allocation_strategy(self, strategy: str) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache()

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        self.cache = cache
        cache.kernels.add("compiled")
        return True


class RuntimeCache:
    """Cache of TensorRT-RTX that contains names of kernels."""

    def __init__(self) -> None:
        self.kernels: set[str] = set()

    def deserialize(self, data: bytes) -> bool:
        if not data.startswith(b"kernels:"):
            return False
        self.kernels |= set(data.decode().split(":", 1)[1].split(","))
        return True

    def serialize(self) -> bytes:
        return b"kernels:" + ",".join(sorted(self.kernels)).encode()


class Refitter:
    """Sets the weights of an engine that was built without weights."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.model: bytes | None = None

    def get_missing_weights(self) -> list[str]:
        return [] if self.model else ["weights of all layers"]

    def refit_cuda_engine(self) -> bool:
        self.engine.model = self.model
        return cast(bool, self.engine.trt.outcome("refit_cuda_engine", self.model is not None))


class OnnxParserRefitter:
    """Passes the weights of an ONNX model to a refitter."""

    def __init__(self, refitter: Refitter) -> None:
        self.refitter = refitter

    def refit_from_bytes(self, model: bytes) -> bool:
        self.refitter.model = model
        return cast(bool, self.refitter.engine.trt.outcome("refit_from_bytes", True))
