"""A stand-in for TensorRT's bindings above `cuda_double`: contexts that run the same ONNX with ONNX Runtime.

It holds the runner to the rules that TensorRT states and does not always check: shapes within the profile, aligned
addresses, scratch memory set, one run before a capture, a captured context never changed, contexts freed before their
engine, and no error recorder left on an object that goes.
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


class Listener:
    """Base of loggers and recorders."""


def plan(model: bytes, max_batch: int, optimal: tuple[int, ...] = (1,), **says: Any) -> bytes:
    """An engine file for the double; `says` is what its header or loading answers."""
    profiles = [(1, batch, 1 if batch == 1 and len(optimal) > 1 else max_batch) for batch in optimal]
    return MAGIC + json.dumps({"profiles": profiles, **says}).encode() + b"\n" + model


class Bindings:
    """The module. Only what fer-edge calls while running."""

    __version__ = "11.4.0.106"
    no_cuda: Mapping[str, str] = MappingProxyType({})  # a class that cannot be made -> the warning in the log before

    def __init__(self, gpu: Gpu, context: type[Context] | None = None) -> None:
        self.gpu = gpu
        self.context = context or Context
        self.logger: Any = None
        self.ILogger = self.IErrorRecorder = Listener
        self.ErrorCodeTRT = ErrorCode
        self.DataType = DataType
        self.EngineValidity = Validity
        self.EngineInvalidityDiagnostics = Diagnostics
        self.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user", STATIC="static")
        self.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")
        self.CudaGraphStrategy = SimpleNamespace(DISABLED="disabled")

    def Runtime(self, logger: Any) -> Runtime:
        self.logger = logger
        self.start_cuda("Runtime")
        return Runtime(self)

    def Refitter(self, engine: Engine, logger: Any) -> Refitter:
        refitter = Refitter(engine)
        del engine  # native code is no frame of a traceback
        self.start_cuda("Refitter")
        return refitter

    def OnnxParserRefitter(self, refitter: Any, logger: Any) -> OnnxParserRefitter:
        return OnnxParserRefitter(refitter)

    def say(self, text: str, severity: Severity = Severity.ERROR) -> None:
        """A message in the log."""
        self.logger.log(severity, text)

    def start_cuda(self, made: str) -> None:
        """Fail as the real ones do where CUDA does not start: the reason is but a warning in the log."""
        if made in self.no_cuda:
            self.say("Unable to determine GPU memory usage", Severity.WARNING)
            self.say(self.no_cuda[made], Severity.WARNING)
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def answer(self, name: str, usual: Any) -> Any:
        """A call's result: what is planted for it, with a word in the log, or the usual."""
        fault = self.gpu.call(name)
        if fault is None:
            return usual
        self.say(f"{name}: Error Code 1: planted")
        return None if fault == "none" else False


def api_double(gpu: Gpu, product: Product = "tensorrt", context: type[Context] | None = None) -> Api:
    """The double as `find_api` would give it."""
    bindings: Any = Bindings(gpu, context)
    return Api(product, bindings, "11.4.0.106" if product == "tensorrt" else "1.7.1.116")


class Runtime:
    """Loads what `plan` wrote."""

    def __init__(self, trt: Bindings) -> None:
        self.trt = trt
        self.engine_host_code_allowed = False

    def get_engine_validity(self, file: bytes) -> tuple[Validity, int]:
        if not file.startswith(MAGIC):
            return Validity.INVALID, Diagnostics.MALFORMED_ENGINE.value
        found = json.loads(file[len(MAGIC) :].split(b"\n", 1)[0]).get("diagnostics", 0)
        return (Validity.INVALID if found else Validity.VALID), found

    def deserialize_cuda_engine(self, file: bytes) -> Engine | None:
        if not file.startswith(MAGIC):
            self.trt.say("Serialization assertion header.magicTag == kEXPECTED_MAGIC_TAG failed. version tag")
            return None
        header, model = file[len(MAGIC) :].split(b"\n", 1)
        says = json.loads(header)
        if says.get("refuses") and not (says["refuses"].startswith("host code") and self.engine_host_code_allowed):
            self.trt.say(says["refuses"])
            return None
        usual = Engine(self.trt, model, says)
        return cast("Engine | None", self.trt.answer("deserialize", usual))


class Engine:
    """One model."""

    device_memory_size_v2 = SCRATCH

    def __init__(self, trt: Bindings, model: bytes, says: dict[str, Any]) -> None:
        self.trt = trt
        self.profiles = [tuple(profile) for profile in says["profiles"]]
        self.refittable = bool(says.get("stripped"))
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
        trt.gpu.make("engine")

    def __del__(self) -> None:
        assert not self.contexts, "an engine went before its contexts"
        self.trt.gpu.drop("engine")

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.UINT8 if name == "images" else DataType.FLOAT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(-1 if isinstance(size, str) else size for size in self.tensors[name])

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        return [(batch, 112, 112, 3) for batch in self.profiles[index]]

    def create_execution_context(self, strategy: Any) -> Context | None:
        wanted = strategy if isinstance(strategy, str) else strategy.strategy
        assert wanted == "user", "scratch memory is the runner's to give"
        return cast("Context | None", self.trt.answer("create_execution_context", self.trt.context(self)))

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig(self.trt)


class Context:
    """Runs a batch with ONNX Runtime when the stream gets there."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.error_recorder: Any = None
        self.addresses: dict[str, int] = {}
        self.shape: tuple[int, ...] | None = None
        self.profile = 0
        self.scratch = 0
        self.version = 0  # counts changes; a graph is good for the one it was captured at
        self.ran = False
        engine.contexts += 1
        engine.trt.gpu.make("execution context")

    def __del__(self) -> None:
        assert self.error_recorder is None, "a context went with its recorder"
        self.engine.contexts -= 1
        self.engine.trt.gpu.drop("execution context")

    def _changed(self, name: str) -> bool:
        self.version += 1
        self.ran = False
        return cast(bool, self.engine.trt.answer(name, True))

    def set_device_memory(self, address: int, size: int) -> None:
        assert size >= SCRATCH and address % ALIGNMENT == 0
        self.engine.trt.gpu.at(address, size)
        self.scratch = address

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self.profile = index
        return self._changed("set_optimization_profile_async")

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self.engine.profiles[self.profile]
        assert name == "images" and shape[1:] == (112, 112, 3) and least <= shape[0] <= most
        self.shape = shape
        return self._changed("set_input_shape")

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address % ALIGNMENT == 0
        self.addresses[name] = address
        return self._changed("set_tensor_address")

    def is_stream_capturable(self, stream: int) -> bool:
        return cast(bool, self.engine.trt.answer("is_stream_capturable", True))

    def execute_async_v3(self, stream: int) -> bool:
        gpu, trt = self.engine.trt.gpu, self.engine.trt
        assert self.scratch and self.shape is not None and set(self.addresses) == set(self.engine.tensors)
        if gpu.is_capturing(stream):
            assert self.ran, "a capture before the context has run with these shapes"
        if trt.answer("execute_async_v3", True) is not True:
            return False
        self.ran = True
        version, batch, reference = self.version, self.shape[0], weakref.ref(self)
        size = batch * 112 * 112 * 3
        source = gpu.at(self.addresses["images"], size)
        targets: dict[str, Any] = {}
        for name in self.engine.outputs:
            classes = self.engine.tensors[name][1]
            targets[name] = gpu.at(self.addresses[name], batch * classes * 4).view(np.float32).reshape(batch, classes)

        def work() -> None:
            context = reference()
            assert context is not None, "work of a context that is gone"
            assert context.version == version, "a graph of a context that was changed since"
            assert context.engine.model is not None, "an engine without weights"
            images = source.reshape(batch, 112, 112, 3)
            for name, value in zip(targets, context.engine.session.run(list(targets), {"images": images}), strict=True):
                np.copyto(targets[name], value)

        gpu.put(stream, work)
        return True


class RuntimeConfig:
    """TensorRT-RTX's."""

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
    """Names of kernels."""

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
    """Takes weights for an engine without."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.model: bytes | None = None

    def get_missing_weights(self) -> list[str]:
        return [] if self.model else ["weights of all layers"]

    def refit_cuda_engine(self) -> bool:
        self.engine.model = self.model
        return cast(bool, self.engine.trt.answer("refit_cuda_engine", self.model is not None))


class OnnxParserRefitter:
    """Gives them, out of an ONNX model."""

    def __init__(self, refitter: Refitter) -> None:
        self.refitter = refitter

    def refit_from_bytes(self, model: bytes) -> bool:
        self.refitter.model = model
        return cast(bool, self.refitter.engine.trt.answer("refit_from_bytes", True))
