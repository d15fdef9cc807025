"""Which engines there are, and what this machine can build and run."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib import import_module

from fer_edge._text import did_you_mean
from fer_edge.engines.base import Engine
from fer_edge.engines.profiling import Profiler
from fer_edge.errors import ConfigError, EngineError, EngineUnavailableError, shown
from fer_edge.machine import machine_name

# Modules are imported when asked for, so that no engine needs to be installed for another to work.
# The PyTorch reference lives with the model: this side of the package never imports torch.
ENGINE_MODULES: dict[str, str] = {
    "openvino": "fer_edge.engines.openvino",
    "onnxruntime": "fer_edge.engines.onnxruntime",
    "tensorrt": "fer_edge.engines.tensorrt.engine",
    "tensorrt-rtx": "fer_edge.engines.tensorrt.rtx",
}
PROFILER_MODULES: dict[str, str] = {"openvino": "fer_edge.engines.openvino_profiling"}


@dataclass(frozen=True)
class EngineStatus:
    """What this machine can do with one engine."""

    engine: str
    version: str | None  # None: not installed
    can_build: bool
    can_run: bool
    reason: str  # why not, and what would help; empty if it can do both


def get_engine(name: str) -> Engine:
    """The engine of that name.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in ENGINE_MODULES:
        raise ConfigError(
            f"no engine {shown(name)}; expected one of: {', '.join(ENGINE_MODULES)}{did_you_mean(name, ENGINE_MODULES)}"
        )
    engine: Engine = import_module(ENGINE_MODULES[name]).ENGINE
    return engine


def get_profiler(name: str) -> Profiler:
    """The profiler of an engine.

    Raises:
        ConfigError: There is no engine of that name.
        EngineError: It tells nothing of its layers.
    """
    get_engine(name)
    if name not in PROFILER_MODULES:
        raise EngineError(f"{name} does not tell what its layers take; {', '.join(PROFILER_MODULES)} does")
    profiler: Profiler = import_module(PROFILER_MODULES[name]).PROFILER
    return profiler


def engine_status(name: str) -> EngineStatus:
    """Find out what works here, without raising for what does not."""
    engine = get_engine(name)
    try:
        version = engine.version()
    except EngineUnavailableError as error:
        return EngineStatus(name, None, can_build=False, can_run=False, reason=str(error))
    reasons = []
    for check in (engine.check_buildable, engine.check_runnable):
        try:
            check()
        except EngineUnavailableError as error:
            reasons.append(str(error))
        else:
            reasons.append("")
    builds, runs = reasons
    return EngineStatus(name, version, can_build=not builds, can_run=not runs, reason=builds or runs)


def machine_of(engine: str, device: int = 0) -> str:
    """What an engine's settings are tuned for: processor and cores, and the GPU too where it runs on one.

    Args:
        engine: Its name.
        device: Which GPU, as in `RunOptions`.

    Raises:
        ConfigError: There is no engine of that name.
        EngineUnavailableError: It runs on GPUs, and there is no such one.
    """
    if not get_engine(engine).for_gpus:
        return machine_name()
    from fer_edge.engines.tensorrt.driver import read_driver

    return machine_name(read_driver().gpu(device).name)


def platform_tag() -> str:
    """Operating system and processor as bundles name them, `linux-x86_64`."""
    system = {"darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    return f"{system}-{machine}"
