"""Import of the engines' packages, the only place that does it: telemetry is switched off first.

Environment variables are set only if the user has not set them, and stay set for processes started from this one, which
import the same packages. A package that the app imported before fer-edge is used as it is: telemetry that it has
started cannot be stopped here.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any


def _import_converter_lazily(openvino: ModuleType) -> None:
    """Import OpenVINO's model converter on first access to `openvino.convert_model`."""

    def get_attribute(name: str) -> Any:
        if name != "convert_model":
            raise AttributeError(f"module 'openvino' has no attribute {name!r}")
        convert = importlib.import_module("openvino.tools.ovc").convert_model
        openvino.convert_model = convert  # type: ignore[attr-defined]
        return convert

    openvino.__getattr__ = get_attribute  # type: ignore[method-assign]


@dataclass(frozen=True)
class Package:
    """Import settings of a package."""

    environment: Mapping[str, str] = field(default_factory=dict)
    blocked_modules: tuple[str, ...] = ()  # optional modules that the package would import too
    after_import: Callable[[ModuleType], None] | None = None  # called once, with the imported package


PACKAGES: dict[str, Package] = {
    # From 1.29 on, its Linux packages write a device id and an event store into the home folder, and send events.
    "onnxruntime": Package(environment={"ORT_DISABLE_TELEMETRY": "1"}),
    # Its conversion tools import openvino-telemetry, which writes into the home folder and sends events on import. They
    # also take a third of the import time, and the runtime converts nothing.
    "openvino": Package(blocked_modules=("openvino.tools.ovc",), after_import=_import_converter_lazily),
    # No telemetry was observed in these, up to their versions of 2026.
    "tensorrt": Package(),
    "tensorrt_rtx": Package(),
    "pycuda.driver": Package(),
    "cuda.bindings.driver": Package(),
}

_lock = threading.RLock()


def _renew_lock() -> None:
    """Replace the lock in a forked process, where its holder may not exist."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def import_package(name: str) -> Any:
    """Import a package of an engine.

    Args:
        name: Key of `PACKAGES`.

    Raises:
        ImportError: The package is not installed or cannot be loaded; native code may raise other exceptions too.
    """
    package = PACKAGES[name]
    with _lock:
        if name in sys.modules:
            return importlib.import_module(name)
        for variable, value in package.environment.items():
            os.environ.setdefault(variable, value)
        blocked: Any = None
        for module in package.blocked_modules:
            sys.modules[module] = blocked  # importing it now raises ImportError
        try:
            imported = importlib.import_module(name)
        finally:
            for module in package.blocked_modules:
                sys.modules.pop(module, None)  # may already be replaced by code that imported it without this lock
        if package.after_import is not None:
            package.after_import(imported)
        return imported
