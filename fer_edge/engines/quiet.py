"""The one place that imports engines' packages. What a package does unasked when imported is switched off before.

Variables of the environment are set only where the user has not set them, and stay set: processes started from here
import the same packages. A package that the app imported first is as the app imported it: its telemetry may be running,
and cannot be taken back from here.
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


def _convert_openvino_later(openvino: ModuleType) -> None:
    """Import the converter when somebody asks for `openvino.convert_model`, and not before."""

    def later(name: str) -> Any:
        if name != "convert_model":
            raise AttributeError(f"module 'openvino' has no attribute {name!r}")
        convert = importlib.import_module("openvino.tools.ovc").convert_model
        openvino.convert_model = convert  # type: ignore[attr-defined]
        return convert

    openvino.__getattr__ = later  # type: ignore[method-assign]


@dataclass(frozen=True)
class Package:
    """How a package is imported."""

    environment: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()  # modules that the package imports along, and does without
    finish: Callable[[ModuleType], None] | None = None  # called once, with the package


PACKAGES: dict[str, Package] = {
    # From 1.29 on its Linux packages write a device id and an event store below the home folder, and send events.
    "onnxruntime": Package(environment={"ORT_DISABLE_TELEMETRY": "1"}),
    # Its conversion tools bring openvino-telemetry along, which writes below the home folder and sends events when
    # imported; they take a third of the import's time, too, and a runtime converts nothing.
    "openvino": Package(left_out=("openvino.tools.ovc",), finish=_convert_openvino_later),
    # These do nothing of the kind, as far as was seen up to the versions of 2026.
    "tensorrt": Package(),
    "tensorrt_rtx": Package(),
    "pycuda.driver": Package(),
    "cuda.bindings.driver": Package(),
}

_lock = threading.RLock()


def _renew_lock() -> None:
    """In a forked process the lock may be held by a thread that is not there."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def import_package(name: str) -> Any:
    """Import a package of an engine.

    Args:
        name: Key of `PACKAGES`.

    Raises:
        ImportError: It is not installed or cannot be loaded; native code may also raise other exceptions.
    """
    package = PACKAGES[name]
    with _lock:
        if name in sys.modules:
            return importlib.import_module(name)
        for variable, value in package.environment.items():
            os.environ.setdefault(variable, value)
        hidden: Any = None
        for module in package.left_out:
            sys.modules[module] = hidden  # an import of it raises ImportError
        try:
            imported = importlib.import_module(name)
        finally:
            for module in package.left_out:
                sys.modules.pop(module, None)  # code that imports it meanwhile, without the lock, may have replaced it
        if package.finish is not None:
            package.finish(imported)
        return imported
