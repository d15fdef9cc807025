"""TensorRT 10 and 11: engines are built on the GPU that they run on, or on one of the same type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_edge.engines.base import Artifact, BuildRequest, BuiltEngine, Engine, Runner, RunOptions
from fer_edge.engines.capabilities import SystemReport, TritonBackend, TritonSettings
from fer_edge.engines.registry import platform_tag
from fer_edge.engines.tensorrt.api import PACKAGES, Api, Product, find_api, version_pair
from fer_edge.engines.tensorrt.build import BuilderOptions, options_from_settings, plan_from_onnx
from fer_edge.engines.tensorrt.caches import CacheFile, cache_name
from fer_edge.engines.tensorrt.cuda import CUDA_PYTHON, PYCUDA, check_cuda
from fer_edge.engines.tensorrt.deserialized import DeserializedEngine
from fer_edge.engines.tensorrt.diagnostics import report_system
from fer_edge.engines.tensorrt.inspector import inspect_plan, operators_of_engine
from fer_edge.engines.tensorrt.runner import GRAPH_BATCHES, load_runner
from fer_edge.errors import UnsupportedTargetError
from fer_edge.hardware.gpu import compute_capability

if TYPE_CHECKING:
    from tensorrt_types import IBuilderConfig

AMPERE = 80
VERSION_COMPATIBLE = "--backend-config=tensorrt,version-compatible=true"  # option of Triton


class _TritonBackend(TritonBackend):
    def settings(self, version: str, options: Mapping[str, Any], max_batch: int, rebuild: str) -> TritonSettings:
        built = options_from_settings(options)
        profiles = built.profiles(max_batch)
        if built.weights == "stripped":
            raise UnsupportedTargetError(
                "the tensorrt engine was built with weights = stripped: its plan has no weights, and Triton cannot add "
                f"them; build it again with: {rebuild} --set tensorrt.weights=inside"
            )
        return TritonSettings(
            profiles=len(profiles),
            # Batches of our runner's graphs, and the largest, which a long queue forms. Triton launches a graph only
            # for a batch of exactly its size, and by default captures few of them.
            graph_batches=tuple(sorted({*range(1, min(max_batch, GRAPH_BATCHES) + 1), max_batch})),
            server_options=(VERSION_COMPATIBLE,) if version.endswith("+") else (),
        )


class ProductEngine(Engine):
    """The common part of both products: bindings, GPU, options and runner."""

    name: Product
    for_gpus = True
    local_options = ("timing_cache",)
    system = "NVIDIA"
    deserialized = DeserializedEngine  # class of a loaded engine

    def version(self) -> str:
        return find_api(self.name).version

    def check_options(self, options: Mapping[str, Any]) -> None:
        options_from_settings(options).check_features(find_api(self.name))

    def check_runnable(self) -> None:
        find_api(self.name)
        check_cuda()

    def local_target(self, device: int = 0) -> str:
        return compute_capability(device)

    def report_system(self) -> SystemReport:
        return report_system()

    def load(self, artifact: Artifact, options: RunOptions) -> Runner:
        return load_runner(find_api(self.name), self.deserialized, artifact, options)


class TensorRTEngine(ProductEngine):
    """TensorRT's builder and runtime."""

    name = "tensorrt"
    variation = (
        "kernels are chosen by their times on the GPU, which vary; a timing cache (timing_cache) repeats the choice"
    )
    packages = (PACKAGES["tensorrt"], PYCUDA, CUDA_PYTHON)
    triton = _TritonBackend("tensorrt", "model.plan", ("gpu",))

    def check_options(self, options: Mapping[str, Any]) -> None:
        super().check_options(options)
        if options_from_settings(options).platform != "this" and platform_tag() != "linux-x86_64":
            raise UnsupportedTargetError(
                f"TensorRT builds for Windows on linux-x86_64; this machine is {platform_tag()}"
            )

    def build(self, model: bytes, request: BuildRequest) -> BuiltEngine:
        self.check_options(request.options)
        options, api, target = options_from_settings(request.options), find_api(self.name), compute_capability()
        _check_targets(request.targets, target)
        cache = None
        if options.timing_cache is not None:
            cache = CacheFile(Path(options.timing_cache), cache_name("timing", model, api.version, target))
        plan, operators = plan_from_onnx(
            api, model, request, options, lambda config: _configure(api, config, options, cache)
        )
        layers = inspect_plan(api, plan) if options.platform == "this" else None
        return BuiltEngine(
            targets=(f"sm{AMPERE}+" if options.hardware_compatible == "ampere-plus" else target,),
            engine_version=f"{api.version}+" if options.version_compatible else api.version,
            file=plan,
            platform=platform_tag() if options.platform == "this" else options.platform,
            layers=layers,
            operators=operators_of_engine(layers, operators),
        )

    def check_buildable(self) -> None:
        compute_capability()  # the builder times kernels on the GPU

    def runs_version(self, built: str) -> bool:
        """Return whether the installed version runs a file of the version `built`.

        Only the same version does, but "11.4.0.106+" also runs on newer versions of the same major version.
        """
        installed = self.version()
        if not built.endswith("+"):
            return built == installed
        try:
            (major, minor), (installed_major, installed_minor) = version_pair(built), version_pair(installed)
        except ValueError:  # a manifest can contain any text
            return False
        return major == installed_major and installed_minor >= minor

    def runs_target(self, built: tuple[str, ...], local: str) -> bool:
        """Return whether a file runs on the GPU: built for its architecture, or for an older one as in "sm80+"."""
        return any(
            target == local or (target.endswith("+") and _number(local) >= _number(target[:-1])) for target in built
        )


def _number(target: str) -> int:
    digits = target.removeprefix("sm")
    return int(digits) if digits.isdigit() else -1


def _check_targets(requested: tuple[str, ...], local: str) -> None:
    others = [target for target in requested if target != local]
    if others:
        raise UnsupportedTargetError(
            f"tensorrt builds for the GPU of this machine, {local}, not for {', '.join(others)}: build there, leave "
            "--gpu-arch out and set hardware_compatible, or use the engine tensorrt-rtx, which builds for any GPU"
        )


@contextmanager
def _configure(api: Api, config: IBuilderConfig, options: BuilderOptions, cache: CacheFile | None) -> Iterator[None]:
    """Set the options that only TensorRT has, and use the timing cache for the build in the block."""
    trt = api.trt
    if options.aux_streams is not None:
        config.max_aux_streams = options.aux_streams
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatible == "ampere-plus":
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    elif options.hardware_compatible == "same-compute-capability":
        level = "SAME_COMPUTE_CAPABILITY"  # by name: the stub of 10.3 lacks it, 10.9 and newer have it
        config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, level)
    if options.platform == "windows-x86_64":
        config.runtime_platform = trt.RuntimePlatform.WINDOWS_AMD64
    with _timing_cache(config, cache):
        yield


@contextmanager
def _timing_cache(config: IBuilderConfig, cache: CacheFile | None) -> Iterator[None]:
    """Load the timing cache before the build in the block, and store it afterwards."""
    if cache is None:
        yield
        return
    timings = config.create_timing_cache(cache.read())
    if not config.set_timing_cache(timings, ignore_mismatch=False):  # from another device, despite the file name
        timings = config.create_timing_cache(b"")
        config.set_timing_cache(timings, ignore_mismatch=False)
    yield
    built = config.get_timing_cache()

    def merge(present: bytes) -> bytes:
        if present:
            built.combine(config.create_timing_cache(present), ignore_mismatch=False)
        return bytes(built.serialize())

    cache.update(merge)


ENGINE = TensorRTEngine()
