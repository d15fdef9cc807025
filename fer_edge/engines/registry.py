"""Registry of engines, and their state on this machine."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib import import_module

from fer_edge._text import did_you_mean
from fer_edge.engines.base import Engine
from fer_edge.engines.profiling import Profiler
from fer_edge.errors import ConfigError, EngineError, EngineUnavailableError, shown

# Modules are imported on first use, so that one engine works without the packages of the others.
# The PyTorch reference is part of fer_edge.model, because the runtime never imports torch.
ENGINE_MODULES: dict[str, str] = {
    "openvino": "fer_edge.engines.openvino",
    "onnxruntime": "fer_edge.engines.onnxruntime",
    "tensorrt": "fer_edge.engines.tensorrt.engine",
    "tensorrt-rtx": "fer_edge.engines.tensorrt.rtx",
}
PROFILER_MODULES: dict[str, str] = {"openvino": "fer_edge.engines.openvino_profiling"}


@dataclass(frozen=True)
class EngineStatus:
    """State of one engine on this machine."""

    engine: str
    version: str | None  # None: not installed
    can_build: bool
    can_run: bool
    reason: str  # why it cannot build or run, with the remedy; empty if it can do both


def get_engine(name: str) -> Engine:
    """Return the engine with this name.

    Raises:
        ConfigError: Unknown name.
    """
    if name not in ENGINE_MODULES:
        raise ConfigError(
            f"no engine {shown(name)}; expected one of: {', '.join(ENGINE_MODULES)}{did_you_mean(name, ENGINE_MODULES)}"
        )
    engine: Engine = import_module(ENGINE_MODULES[name]).ENGINE
    return engine


def get_profiler(name: str) -> Profiler:
    """Return the layer profiler of an engine.

    Raises:
        ConfigError: Unknown name.
        EngineError: The engine has no profiler.
    """
    get_engine(name)
    if name not in PROFILER_MODULES:
        raise EngineError(f"{name} has no layer profiler; engines with one: {', '.join(PROFILER_MODULES)}")
    profiler: Profiler = import_module(PROFILER_MODULES[name]).PROFILER
    return profiler


def engine_status(name: str) -> EngineStatus:
    """Check whether an engine is installed, builds and runs on this machine; a failure becomes the `reason`."""
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
    build_reason, run_reason = reasons
    return EngineStatus(
        name, version, can_build=not build_reason, can_run=not run_reason, reason=build_reason or run_reason
    )


def platform_tag() -> str:
    """Return operating system and processor in the notation of bundles, for example `linux-x86_64`."""
    system = {"darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    return f"{system}-{machine}"
