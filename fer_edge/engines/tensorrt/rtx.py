"""TensorRT-RTX: engines for GeForce and RTX GPUs, built ahead of time on a machine with or without a GPU.

One engine file serves several compute capabilities, on Linux and Windows. Its kernels are compiled on the user's GPU
when it is first loaded, and cached on disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fer_edge.engines.base import Artifact, BuildRequest, BuiltEngine, RunOptions
from fer_edge.engines.tensorrt.api import LOG, PACKAGES, Api, find_api
from fer_edge.engines.tensorrt.build import BuilderOptions, options_from_settings, plan_from_onnx
from fer_edge.engines.tensorrt.caches import CacheFile, cache_name, default_folder
from fer_edge.engines.tensorrt.cuda import CUDA_PYTHON, PYCUDA
from fer_edge.engines.tensorrt.deserialized import DeserializedEngine
from fer_edge.engines.tensorrt.engine import ProductEngine
from fer_edge.engines.tensorrt.errors import loading_error
from fer_edge.engines.tensorrt.inspector import inspect_plan, operators_of_engine
from fer_edge.errors import EngineError, EngineUnavailableError, UnsupportedTargetError
from fer_edge.hardware.gpu import compute_capability

if TYPE_CHECKING:
    from tensorrt_types import IBuilderConfig, IExecutionContext, IRuntimeCache, IRuntimeConfig, Runtime

DEFAULT_TARGETS = ("sm86", "sm89", "sm120")
SUPPORTED_TARGETS = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")


class DeserializedRTXEngine(DeserializedEngine):
    """A TensorRT-RTX engine on the GPU, with a cache on disk of the kernels that it compiles at the first run."""

    def __init__(self, api: Api, artifact: Artifact, options: RunOptions) -> None:
        assert artifact.file is not None
        name = cache_name("kernels", artifact.file, api.version, compute_capability(options.device))
        self._file = CacheFile(Path(options.cache or default_folder()), name)
        self._stored = b""
        self._cache: IRuntimeCache | None = None
        super().__init__(api, artifact, options)

    def check_file(self, runtime: Runtime, file: bytes) -> None:
        """Check the header of the engine file, which names the cause of a failure; deserialization would not."""
        trt = self.api.trt
        validity, diagnostics = runtime.get_engine_validity(file)
        members = trt.EngineInvalidityDiagnostics.__members__.values()
        names = [member.name for member in members if member.value & diagnostics]
        if names and validity == trt.EngineValidity.INVALID:
            for name in names:
                self.messages.log.add(name, f"the engine's header reports {name}")
            raise loading_error(self.api.name, self.messages)
        if names:
            LOG.warning("the engine runs on this machine, but slower than possible: %s", ", ".join(names))

    def new_context(self) -> IExecutionContext:
        self.messages.clear()
        trt, config = self.api.trt, self.engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        # Compile the kernels of a shape before its first run ends. Otherwise a graph would capture the slow fallback
        # kernels that run until compilation has finished.
        eager = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        config.dynamic_shapes_kernel_specialization_strategy = eager
        config.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED  # the runner captures graphs itself
        config.set_runtime_cache(self._runtime_cache(config))
        context = self.engine.create_execution_context(config)
        del config  # it holds the engine, and the traceback of the error below would hold it
        return self.check_context(context)

    def can_capture(self, context: IExecutionContext, stream: int) -> bool:
        return context.is_stream_capturable(stream)

    def after_warmup(self) -> None:
        """Store the compiled kernels if there are new ones."""
        assert self._cache is not None
        if bytes(self._cache.serialize()) != self._stored:
            self._file.update(self._merge)

    def close(self) -> None:
        self._cache = None
        super().close()

    def _runtime_cache(self, config: IRuntimeConfig) -> IRuntimeCache:
        """Return the cache that all contexts share, filled from disk unless GPU, driver or version differ."""
        if self._cache is None:
            self._cache = config.create_runtime_cache()
            self._stored = self._file.read()
            if self._stored and not self._cache.deserialize(self._stored):
                LOG.info("%s is for another GPU, driver or version; kernels are compiled again", self._file.path)
        return self._cache

    def _merge(self, present: bytes) -> bytes:
        assert self._cache is not None
        if present and present != self._stored:
            self._cache.deserialize(present)  # another process has written the file since it was read
        return bytes(self._cache.serialize())


class TensorRTRTXEngine(ProductEngine):
    """TensorRT-RTX's ahead-of-time builder and its runtime."""

    name = "tensorrt-rtx"
    # Version 1.7.1 without a GPU: 683 of 8,435,468 bytes for two architectures in fp16.
    variation = "the builder numbers inner tensors and orders outputs anew"
    packages = (PACKAGES["tensorrt-rtx"], PYCUDA, CUDA_PYTHON)
    deserialized = DeserializedRTXEngine

    def build(self, model: bytes, request: BuildRequest) -> BuiltEngine:
        targets = request.targets or DEFAULT_TARGETS
        options = options_from_settings(request.options)
        _check_targets(targets, request.precision)
        api = find_api(self.name)
        options.check_features(api)
        try:
            plan, operators = plan_from_onnx(
                api, model, request, options, lambda config: _configure(api, config, targets)
            )
        except EngineError as error:
            raise _explain(error, api, options) from error
        layers = _inspect_layers(api, plan, targets)
        return BuiltEngine(targets, api.version, plan, layers=layers, operators=operators_of_engine(layers, operators))

    def check_runnable(self) -> None:
        super().check_runnable()
        local = self.local_target()
        if local not in SUPPORTED_TARGETS:
            raise EngineUnavailableError(
                f"tensorrt-rtx has no engines for {local}, the GPU of this machine; expected one of: "
                f"{', '.join(SUPPORTED_TARGETS)}: use the engine tensorrt here"
            )


def _check_targets(targets: tuple[str, ...], precision: str) -> None:
    """Refuse targets that the builder would refuse only after a long time, or without a reason."""
    unknown = [target for target in targets if target not in SUPPORTED_TARGETS]
    if unknown:
        raise UnsupportedTargetError(
            f"tensorrt-rtx does not build for {', '.join(unknown)}; expected some of: {', '.join(SUPPORTED_TARGETS)}"
        )
    if "sm75" in targets and precision == "fp32":
        raise UnsupportedTargetError(
            "tensorrt-rtx has no fp32 matrix products on sm75 (Turing); build sm75 with --precision fp16"
        )
    if "sm75" in targets and len(targets) > 1:
        raise UnsupportedTargetError(
            "tensorrt-rtx builds sm75 only by itself; build for the other architectures in a second call"
        )


def _inspect_layers(api: Api, plan: bytes, targets: tuple[str, ...]) -> str | None:
    """Return the inspector's JSON; None if this machine has no GPU that can load the engine."""
    try:
        local = compute_capability()
    except EngineUnavailableError:
        return None
    return inspect_plan(api, plan) if local in targets else None


@contextmanager
def _configure(api: Api, config: IBuilderConfig, targets: tuple[str, ...]) -> Iterator[None]:
    """Set the compute capabilities and the flags that only TensorRT-RTX has."""
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        capability = getattr(api.trt.ComputeCapability, target.upper(), None)
        if capability is None or not config.set_compute_capability(capability, index):
            raise UnsupportedTargetError(f"{api.name} does not build for {target}; leave it out")
    # The flag prevents allocations during a run, which a CUDA graph could not capture.
    config.set_flag(api.trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    yield


def _explain(error: EngineError, api: Api, options: BuilderOptions) -> EngineError:
    """Return a build error with its cause in the one case where TensorRT-RTX does not report it."""
    if options.weights == "stripped" and "CUDA_SUCCESS" in str(error):
        return EngineError(
            f"{api.name} builds engines without weights only on a machine with an NVIDIA GPU, which this machine "
            "lacks; build on such a machine, or leave weights = inside"
        )
    return error


ENGINE = TensorRTRTXEngine()
