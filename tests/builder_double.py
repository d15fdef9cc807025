"""Simulated TensorRT builder, which records its configuration and returns plans for `bindings_double`."""

from __future__ import annotations

import enum
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from fer_edge.engines.tensorrt import engine as engine_module
from fer_edge.engines.tensorrt.api import Api
from tests.bindings_double import Bindings, plan
from tests.cuda_double import Gpu


def install_builder(monkeypatch: pytest.MonkeyPatch, target: str = "sm89") -> BuilderBindings:
    """Let the engine `tensorrt` build with simulated bindings of version 11.4.

    Args:
        monkeypatch: Fixture that reverts the change.
        target: Architecture of this machine's GPU.
    """
    bindings = BuilderBindings(Gpu())
    api: Any = bindings
    monkeypatch.setattr(engine_module, "find_api", lambda product: Api(product, api, bindings.__version__))
    monkeypatch.setattr(engine_module, "compute_capability", lambda: target)
    return bindings


class Flag(enum.IntEnum):
    TF32 = 0
    STRIP_PLAN = 1
    REFIT_IDENTICAL = 2
    VERSION_COMPATIBLE = 3


class BuilderBindings(Bindings):
    """The module with its builder; `configs` has one entry for each build."""

    def __init__(self, gpu: Gpu, version: str = "11.4.0.106") -> None:
        super().__init__(gpu)
        self.__version__ = version
        self.configs: list[Config] = []
        self.IProgressMonitor = object
        self.BuilderFlag = Flag
        self.Dims = list
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=0)
        self.ProfilingVerbosity = SimpleNamespace(DETAILED="detailed")
        self.MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
        self.HardwareCompatibilityLevel = SimpleNamespace(AMPERE_PLUS="ampere", SAME_COMPUTE_CAPABILITY="same")
        self.RuntimePlatform = SimpleNamespace(WINDOWS_AMD64="windows")

    def Builder(self, logger: Any) -> Builder:
        self.logger = logger
        self.start_cuda("Builder")
        return Builder(self)

    def OnnxParser(self, network: Network, logger: Any) -> Parser:
        return Parser(network)


class Network:
    model: bytes = b""
    num_layers = 0  # the layers of a network are tested on the real TensorRT-RTX


class Parser:
    num_errors = 1

    def __init__(self, network: Network) -> None:
        self.network = network

    def parse(self, model: bytes) -> bool:
        self.network.model = model
        try:
            onnx.load_from_string(model)
        except Exception:
            return False
        return True

    def get_error(self, index: int) -> Any:
        texts = {"node_operator": "Conv", "node_name": "conv1", "desc": "no kernel"}
        return SimpleNamespace(**{name: lambda text=text: text for name, text in texts.items()})


class Profile:
    def __init__(self) -> None:
        self.shapes: list[Any] = []

    def set_shape(self, name: str, *shapes: Any) -> None:
        self.shapes = [shape[0] for shape in shapes]


class TimingCache:
    """Names of timed layers; data that starts with `another` is from another device."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def combine(self, other: TimingCache, ignore_mismatch: bool) -> bool:
        self.data = b"+".join(sorted({*self.data.split(b"+"), *other.data.split(b"+")} - {b""}))
        return True

    def serialize(self) -> bytes:
        return self.data


class Config:
    """Builder configuration that records every setting."""

    def __init__(self) -> None:
        self.flags = {Flag.TF32}
        self.profiles: list[Profile] = []
        self.pools: dict[str, int] = {}
        self.cache: TimingCache | None = None
        self.initial_cache = b""
        self.progress_monitor: Any = None

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def set_flag(self, flag: Flag) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: Flag) -> None:
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.pools[pool] = size

    def create_timing_cache(self, data: bytes) -> TimingCache:
        return TimingCache(data)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        if cache.data.startswith(b"another"):
            return False
        self.cache, self.initial_cache = cache, cache.data
        return True

    def get_timing_cache(self) -> TimingCache | None:
        return self.cache


class Builder:
    def __init__(self, trt: BuilderBindings) -> None:
        self.trt = trt

    def create_network(self, flags: int) -> Network:
        assert flags == 1, "the network must be strongly typed"
        return Network()

    def create_builder_config(self) -> Config:
        self.trt.configs.append(Config())
        return self.trt.configs[-1]

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        config.progress_monitor.phase_start("Building", None, 1)
        if not config.progress_monitor.step_complete("Building", 0):
            return None
        config.progress_monitor.phase_finish("Building")
        if config.cache is not None:
            config.cache.combine(TimingCache(b"timed"), ignore_mismatch=False)
        largest = max(profile.shapes[2] for profile in config.profiles)
        optimal = tuple(profile.shapes[1] for profile in config.profiles)
        stripped = Flag.STRIP_PLAN in config.flags
        refuses = "host code is not allowed" if Flag.VERSION_COMPATIBLE in config.flags else ""
        return plan(network.model, largest, optimal, stripped=stripped, refuses=refuses)
