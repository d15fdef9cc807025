"""TensorRT-RTX: engines for GeForce and RTX GPUs, built ahead of time on any machine, with or without a GPU.

This version builds; it does not yet run what it builds.
"""

from __future__ import annotations

import ctypes
from typing import Any

from fer_edge.engines.base import (
    IMAGE_SIZE,
    INPUT_NAME,
    Artifact,
    BuildRequest,
    BuiltEngine,
    Engine,
    ExecutedOperator,
    Runner,
    RunOptions,
)
from fer_edge.engines.typed_network import operators_of_network
from fer_edge.errors import EngineError, EngineUnavailable, UnsupportedTarget

DEFAULT_TARGETS = ("sm86", "sm89", "sm120")
KNOWN_TARGETS = ("sm75", "sm80", "sm86", "sm89", "sm120")
COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR = 75, 76  # of CUdevice_attribute


class TensorRTRTXEngine(Engine):
    """TensorRT-RTX's ahead-of-time builder: strongly typed, one file for all targets asked for."""

    name = "tensorrt-rtx"
    extra = "tensorrt-rtx"

    def version(self) -> str:
        return str(_tensorrt_rtx().__version__)

    def build(self, model: bytes, request: BuildRequest) -> BuiltEngine:
        targets = request.targets or DEFAULT_TARGETS
        _check_targets(targets, request.precision)
        plan, operators = _engine_from_onnx(model, targets, request.max_batch)
        return BuiltEngine(targets, self.version(), plan, operators=operators)

    def check_runnable(self) -> None:
        raise EngineUnavailable(
            f"this version of fer-edge builds TensorRT-RTX engines but does not run them{_device()}"
        )

    def local_target(self) -> str:
        return _compute_capability()

    def load(self, artifact: Artifact, options: RunOptions) -> Runner:
        self.check_runnable()
        raise AssertionError("check_runnable always raises")


def _check_targets(targets: tuple[str, ...], precision: str) -> None:
    """What the builder would refuse late or without a reason is refused here."""
    unknown = [target for target in targets if target not in KNOWN_TARGETS]
    if unknown:
        raise UnsupportedTarget(
            f"tensorrt-rtx does not build for {', '.join(unknown)}; expected some of: {', '.join(KNOWN_TARGETS)}"
        )
    if "sm75" in targets and precision == "fp32":
        raise UnsupportedTarget(
            "tensorrt-rtx has no fp32 matrix products on sm75 (Turing); build sm75 with --precision fp16"
        )
    if "sm75" in targets and len(targets) > 1:
        raise UnsupportedTarget("tensorrt-rtx builds sm75 only by itself; ask for the other targets in a second build")


def _engine_from_onnx(
    model: bytes, targets: tuple[str, ...], max_batch: int
) -> tuple[bytes, tuple[ExecutedOperator, ...]]:
    # Straight on the bindings: Polygraphy picks TensorRT or TensorRT-RTX once per process, by an environment
    # variable read at import, and a build machine may want both.
    rtx = _tensorrt_rtx()
    logger = _collecting_logger(rtx)
    builder = rtx.Builder(logger)
    network = builder.create_network(1 << int(rtx.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = rtx.OnnxParser(network, logger)
    if not parser.parse(model):
        reasons = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise EngineError(f"TensorRT-RTX cannot read the model: {'; '.join(reasons) or logger.last()}")
    operators = operators_of_network(network)
    config = builder.create_builder_config()
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        capability = getattr(rtx.ComputeCapability, target.upper())
        if not config.set_compute_capability(capability, index):
            raise UnsupportedTarget(f"TensorRT-RTX {rtx.__version__} refused {target}: {logger.last()}")
    profile = builder.create_optimization_profile()
    shapes = [(batch, IMAGE_SIZE, IMAGE_SIZE, 3) for batch in (1, 1, max_batch)]
    profile.set_shape(INPUT_NAME, *shapes)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"TensorRT-RTX could not build the engine: {logger.last()}")
    return bytes(plan), operators


def _collecting_logger(rtx: Any) -> Any:
    class CollectingLogger(rtx.ILogger):  # type: ignore[misc]
        """Keeps errors for our own messages; says nothing by itself."""

        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (rtx.ILogger.Severity.ERROR, rtx.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

        def last(self) -> str:
            return "; ".join(self.errors[-3:]) or "no reason given"

    return CollectingLogger()


def _device() -> str:
    try:
        return f"; the GPU here is {_compute_capability()}"
    except EngineUnavailable as error:
        return f"; {error}"


def _compute_capability() -> str:
    """Target name of the first GPU, asked of the driver itself, so that no CUDA package is needed."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise EngineUnavailable("no NVIDIA driver here (libcuda.so.1 not found)") from error
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGet(ctypes.byref(device), 0) != 0:
        raise EngineUnavailable("the NVIDIA driver finds no GPU")
    cuda.cuDeviceGetAttribute(ctypes.byref(major), COMPUTE_CAPABILITY_MAJOR, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), COMPUTE_CAPABILITY_MINOR, device)
    return f"sm{major.value}{minor.value}"


def _tensorrt_rtx() -> Any:
    try:
        import tensorrt_rtx
    except ImportError as error:
        raise EngineUnavailable(
            f'TensorRT-RTX cannot be imported ({error}); run: pip install "fer-edge[tensorrt-rtx]"'
        ) from error
    return tensorrt_rtx


ENGINE = TensorRTRTXEngine()
