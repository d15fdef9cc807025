"""Registry of engines, the only list of them, and their state on this machine."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from fer_edge._text import did_you_mean, one_line
from fer_edge.errors import ConfigError, EngineError, EngineUnavailableError, shown

if TYPE_CHECKING:  # the command line checks names of engines before it imports NumPy
    from importlib.metadata import EntryPoint

    from fer_edge.engines.base import Engine
    from fer_edge.engines.capabilities import Profiler, SystemReport

# Modules are imported on first use, so that one engine works without the packages of the others.
# The PyTorch reference is part of fer_edge.model, because the runtime never imports torch.
ENGINE_MODULES: dict[str, str] = {
    "openvino": "fer_edge.engines.openvino.engine",
    "onnxruntime": "fer_edge.engines.onnxruntime",
    "tensorrt": "fer_edge.engines.tensorrt.engine",
    "tensorrt-rtx": "fer_edge.engines.tensorrt.rtx",
}
# Entry points with which installed packages add engines: name and `Engine` object. They are searched only for names
# that are not above, and loaded only when the user or a bundle names them, or when all engines are listed.
GROUP = "fer_edge.engines"


@dataclass(frozen=True)
class EngineStatus:
    """State of one engine on this machine."""

    engine: str
    version: str | None  # None: not installed
    can_build: bool
    can_run: bool
    reason: str  # why it cannot build or run, with the remedy; empty if it can do both


def engine_names() -> list[str]:
    """Return the names of all engines: those of fer-edge, then those of installed packages."""
    return [*ENGINE_MODULES, *(name for name in _entry_points() if name not in ENGINE_MODULES)]


def is_engine(name: str) -> bool:
    """Return whether an engine has this name."""
    return name in ENGINE_MODULES or name in _entry_points()


def get_engine(name: str) -> Engine:
    """Return the engine with this name.

    Raises:
        ConfigError: Unknown name.
        EngineUnavailableError: Engine of another package that cannot be loaded.
    """
    if name in ENGINE_MODULES:
        return import_module(ENGINE_MODULES[name]).ENGINE
    if not is_engine(name):
        names = engine_names()
        raise ConfigError(f"no engine {shown(name)}; expected one of: {', '.join(names)}{did_you_mean(name, names)}")
    return _load(_entry_points()[name])


def engines() -> list[Engine]:
    """Return all engines, without those of other packages that cannot be loaded."""
    loaded = []
    for name in engine_names():
        try:
            loaded.append(get_engine(name))
        except EngineUnavailableError:
            continue
    return loaded


def names_with(capability: str) -> str:
    """Return the names of the engines that have an optional capability, for messages.

    Args:
        capability: Attribute of `Engine` that is not empty: "for_gpus".
    """
    return ", ".join(engine.name for engine in engines() if getattr(engine, capability))


def get_profiler(name: str) -> Profiler:
    """Return the layer profiler of an engine.

    Raises:
        ConfigError: Unknown name.
        EngineError: The engine has no profiler.
    """
    profiler = get_engine(name).profiler
    if profiler is None:
        raise EngineError(f"{name} has no layer profiler; engines with one: {names_with('profiler')}")
    return profiler


def engine_status(name: str) -> EngineStatus:
    """Check whether an engine is installed, builds and runs on this machine; a failure becomes the `reason`."""
    try:
        engine = get_engine(name)
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


def system_reports() -> dict[str, SystemReport]:
    """Return the reports on the systems that engines need, each once, by the system's name: "NVIDIA"."""
    owners = {engine.system: engine for engine in reversed(engines())}
    reports = {name: engine.report_system() for name, engine in owners.items()}
    return {name: report for name, report in reports.items() if report is not None}


def platform_tag() -> str:
    """Return operating system and processor in the notation of bundles, for example `linux-x86_64`."""
    system = {"darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    return f"{system}-{machine}"


def _entry_points() -> dict[str, EntryPoint]:
    """Return the entry points of installed packages by name."""
    from importlib.metadata import entry_points  # slow to import, and needed for other engines only

    return {point.name: point for point in entry_points(group=GROUP)}


def _load(point: EntryPoint) -> Engine:
    from fer_edge.engines.base import Engine

    try:
        engine = point.load()
    except Exception as error:  # a package of someone else may raise anything
        raise EngineUnavailableError(
            f"the engine {point.name} cannot be imported from {point.value} ({one_line(str(error))}); reinstall or "
            "uninstall the package that adds it"
        ) from error
    if not isinstance(engine, Engine) or engine.name != point.name:
        raise EngineUnavailableError(
            f"{point.value} is {engine!r}; expected an Engine named {point.name}: update the package that adds it"
        )
    return engine
