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


@dataclass(frozen=True, eq=False)
class Package:
    """A package of an engine, with the settings of its import."""

    module: str
    distribution: str  # name whose version is recorded with results
    environment: Mapping[str, str] = field(default_factory=dict)
    blocked_modules: tuple[str, ...] = ()  # optional modules that the package would import too
    after_import: Callable[[ModuleType], None] | None = None  # called once, with the imported package
    loads_libraries: bool = False  # loads native libraries by name, so that frozen apps need them listed


_lock = threading.RLock()


def _renew_lock() -> None:
    """Replace the lock in a forked process, where its holder may not exist."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def import_package(package: Package) -> Any:
    """Import a package of an engine.

    Raises:
        ImportError: The package is not installed or cannot be loaded; native code may raise other exceptions too.
    """
    with _lock:
        if package.module in sys.modules:
            return importlib.import_module(package.module)
        for variable, value in package.environment.items():
            os.environ.setdefault(variable, value)
        blocked: Any = None
        for module in package.blocked_modules:
            sys.modules[module] = blocked  # importing it now raises ImportError
        try:
            imported = importlib.import_module(package.module)
        finally:
            for module in package.blocked_modules:
                sys.modules.pop(module, None)  # may already be replaced by code that imported it without this lock
        if package.after_import is not None:
            package.after_import(imported)
        return imported
