"""OpenVINO in this process: its package, its one `Core`, and its exceptions as errors of fer-edge."""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from fer_edge.engines.messages import engine_error, unavailable
from fer_edge.engines.quiet import Package, import_package
from fer_edge.errors import EngineUnavailableError, FerEdgeError

# OpenVINO needs one of these files to count the processors.
PROCESSOR_FILES = (
    "/proc/cpuinfo",
    "/sys/devices/system/cpu/cpu0/cache/index0/shared_cpu_list",
    "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq",
)


def _import_converter_lazily(openvino: ModuleType) -> None:
    """Import OpenVINO's model converter on first access to `openvino.convert_model`."""

    def get_attribute(name: str) -> Any:
        if name != "convert_model":
            raise AttributeError(f"module 'openvino' has no attribute {name!r}")
        convert = importlib.import_module("openvino.tools.ovc").convert_model
        openvino.convert_model = convert  # type: ignore[attr-defined]
        return convert

    openvino.__getattr__ = get_attribute  # type: ignore[method-assign]


# The conversion tools import openvino-telemetry, which writes into the home folder and sends events on import. They
# also take a third of the import time, and the runtime converts nothing.
PACKAGE = Package(
    "openvino",
    "openvino",
    blocked_modules=("openvino.tools.ovc",),
    after_import=_import_converter_lazily,
    loads_libraries=True,
)


@contextmanager
def failures(action: str) -> Iterator[None]:
    """Convert OpenVINO's exceptions into errors of fer-edge.

    Args:
        action: Failed action, as for `engine_error`.
    """
    try:
        yield
    except FerEdgeError:
        raise
    except Exception as error:  # mostly RuntimeError; MemoryError; TypeError from the bindings
        raise engine_error("OpenVINO", action, error) from error


class _ProcessState:
    """State of OpenVINO in this process.

    A forked process has none of the parent's inference threads, but OpenVINO still counts on them. A model that is
    compiled there may be assigned the threads of a closed model, and hang. A model that is already open still runs.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()  # protects the creation of the Core
        self.core: Any = None
        self.started = False  # whether a Core exists or is being created
        self.forked_after_start = False  # whether this process was forked after OpenVINO was started

    def after_fork(self) -> None:
        """Reset the state in a forked process, where the holder of the lock may not exist."""
        self.lock = threading.RLock()
        self.forked_after_start = self.started
        if self.core is not None:
            # Leak one reference: destroying the Core at exit would wait for threads that do not exist here.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.core))


PROCESS = _ProcessState()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PROCESS.after_fork)


def core() -> Any:
    """Return the `openvino.Core` of this process, which lives until the process ends.

    On Linux each Core's CPU plugin installs an alternate signal stack for its creating thread and unmaps it on
    destruction. Destroying two Cores in creation order leaves the thread on an unmapped stack, and the next signal (a
    Ctrl-C) crashes the process; hence one Core for the process's life.

    Raises:
        EngineUnavailableError: The package cannot be imported, OpenVINO does not start, or this process was forked
            after OpenVINO was started.
    """
    if PROCESS.forked_after_start:
        raise EngineUnavailableError(
            "OpenVINO was started before this process was forked; start processes with multiprocessing's 'spawn' or "
            "'forkserver', or open the first recognizer after the fork"
        )
    with PROCESS.lock:
        if PROCESS.core is None:
            _check_processor_files()
            create_core = openvino().Core
            PROCESS.started = True
            try:
                PROCESS.core = create_core()
            except Exception as error:
                raise unavailable("OpenVINO", "does not start", error) from error
        return PROCESS.core


def _check_processor_files() -> None:
    """Check that OpenVINO can count the processors: otherwise it hangs on start.

    Without the kernel's files below /sys it reads /proc/cpuinfo up to its end, even if opening that file failed.

    Raises:
        EngineUnavailableError: Neither can be read.
    """
    if sys.platform == "linux" and not any(os.access(file, os.R_OK) for file in PROCESSOR_FILES):
        raise EngineUnavailableError(
            "OpenVINO cannot count the processors: neither /proc/cpuinfo nor /sys/devices/system/cpu can be read; "
            "mount /proc or /sys in this container or chroot, or use the engine onnxruntime"
        )


def openvino() -> Any:
    """Return the imported package.

    Raises:
        EngineUnavailableError: The package cannot be imported.
    """
    try:
        return import_package(PACKAGE)
    except Exception as error:  # loading native code may raise exceptions other than ImportError
        raise unavailable("OpenVINO", "cannot be imported", error, "pip install openvino") from error


def rt_info(node: Any, name: str) -> str:
    """Return a text that the plugin stores with a node of a runtime model; empty without it."""
    info = node.get_rt_info()
    return str(info[name].astype(str)) if name in info else ""
