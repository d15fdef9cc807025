"""TensorRT-RTX: engines for GeForce and RTX GPUs, built ahead of time on any machine, with or without a GPU.

One file serves several compute capabilities, on Linux and Windows; its kernels are compiled on the user's GPU when it
is first loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fer_edge.engines.base import Artifact, BuildRequest, BuiltEngine, Engine, Runner, RunOptions
from fer_edge.engines.tensorrt.api import Api, find_api
from fer_edge.engines.tensorrt.build import plan_from_onnx
from fer_edge.engines.tensorrt.driver import compute_capability
from fer_edge.engines.tensorrt.inspector import layers_of_plan, operators_of_engine
from fer_edge.engines.tensorrt.options import BuilderOptions, options_from_settings
from fer_edge.engines.tensorrt.rtx_runtime import LoadedRTXEngine
from fer_edge.engines.tensorrt.start import check_runnable, load_runner
from fer_edge.errors import EngineError, EngineUnavailableError, UnsupportedTargetError

if TYPE_CHECKING:
    from tensorrt_types import IBuilderConfig

DEFAULT_TARGETS = ("sm86", "sm89", "sm120")
KNOWN_TARGETS = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")


class TensorRTRTXEngine(Engine):
    """TensorRT-RTX's ahead-of-time builder: strongly typed, one file for all targets asked for."""

    name = "tensorrt-rtx"
    extra = "tensorrt-rtx"
    for_gpus = True

    def version(self) -> str:
        return find_api("tensorrt-rtx").version

    def check_options(self, options: Mapping[str, Any]) -> None:
        _check_options(find_api("tensorrt-rtx"), options_from_settings(options))

    def build(self, model: bytes, request: BuildRequest) -> BuiltEngine:
        targets = request.targets or DEFAULT_TARGETS
        options = options_from_settings(request.options)
        _check_targets(targets, request.precision)
        api = find_api("tensorrt-rtx")
        _check_options(api, options)
        try:
            plan, operators = plan_from_onnx(
                api, model, request, options, lambda config: _for_targets(api, config, targets)
            )
        except EngineError as error:
            raise _explained(error, api, options) from error
        layers = _layers(api, plan, targets)
        return BuiltEngine(targets, api.version, plan, layers=layers, operators=operators_of_engine(layers, operators))

    def check_runnable(self) -> None:
        check_runnable(find_api("tensorrt-rtx"))
        local = self.local_target()
        if local not in KNOWN_TARGETS:
            raise EngineUnavailableError(
                f"tensorrt-rtx has no engines for {local}, the GPU of this machine; expected one of: "
                f"{', '.join(KNOWN_TARGETS)}: use the engine tensorrt here"
            )

    def local_target(self, device: int = 0) -> str:
        return compute_capability(device)

    def load(self, artifact: Artifact, options: RunOptions) -> Runner:
        return load_runner(find_api("tensorrt-rtx"), LoadedRTXEngine, artifact, options)


def _check_targets(targets: tuple[str, ...], precision: str) -> None:
    """What the builder would refuse late or without a reason is refused here."""
    unknown = [target for target in targets if target not in KNOWN_TARGETS]
    if unknown:
        raise UnsupportedTargetError(
            f"tensorrt-rtx does not build for {', '.join(unknown)}; expected some of: {', '.join(KNOWN_TARGETS)}"
        )
    if "sm75" in targets and precision == "fp32":
        raise UnsupportedTargetError(
            "tensorrt-rtx has no fp32 matrix products on sm75 (Turing); build sm75 with --precision fp16"
        )
    if "sm75" in targets and len(targets) > 1:
        raise UnsupportedTargetError(
            "tensorrt-rtx builds sm75 only by itself; ask for the other targets in a second build"
        )


def _check_options(api: Api, options: BuilderOptions) -> None:
    """The builder takes these without a word and does nothing; a user who sets one expects something."""
    if options.aux_streams is not None:
        api.require("aux_streams", "aux_streams")
    if options.version_compatible:
        api.require("version_compatible", "version_compatible")
    if options.hardware_compatible != "no":
        api.require("hardware_compatible", "hardware_compatible: its engines run on every target they are built for")
    if options.platform != "this":
        api.require("runtime_platform", "platform: its engines run on Linux and Windows as they are")
    if options.timing_cache is not None:
        api.require("timing_cache", "timing_cache")


def _layers(api: Api, plan: bytes, targets: tuple[str, ...]) -> str | None:
    """What the engine says of its layers, where it was built on a GPU that can load it."""
    try:
        local = compute_capability()
    except EngineUnavailableError:
        return None
    return layers_of_plan(api, plan) if local in targets else None


@contextmanager
def _for_targets(api: Api, config: IBuilderConfig, targets: tuple[str, ...]) -> Iterator[None]:
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        capability = getattr(api.trt.ComputeCapability, target.upper(), None)
        if capability is None or not config.set_compute_capability(capability, index):
            raise UnsupportedTargetError(f"{api.name} does not build for {target}; leave it out")
    # With it, no memory is allocated while running, so that work can be captured into CUDA graphs.
    config.set_flag(api.trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    yield


def _explained(error: EngineError, api: Api, options: BuilderOptions) -> EngineError:
    """What is behind the one failure that says nothing of its cause."""
    if options.weights == "stripped" and "CUDA_SUCCESS" in str(error):
        return EngineError(
            f"{api.name} builds engines without weights only on a machine with an NVIDIA GPU, which it did not "
            "find here; build there, or leave weights = inside"
        )
    return error


ENGINE = TensorRTRTXEngine()
