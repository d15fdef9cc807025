"""What a figure cannot be read without: hardware, system, versions."""

from __future__ import annotations

import datetime
import os
import platform
import re
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fer_edge.cgroups import cpu_limit, memory_limit
from fer_edge.errors import EngineUnavailableError
from fer_edge.machine import cores, cpu_fields, cpu_name

PACKAGES = (
    *("fer-edge", "numpy", "pillow", "openvino", "onnxruntime", "torch"),
    *("tensorrt", "tensorrt-rtx", "pycuda", "cuda-bindings"),
)
# Extensions that decide which kernels an engine takes.
EXTENSIONS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "i8mm")
CPUS = Path("/sys/devices/system/cpu")
NVIDIA = Path("/proc/driver/nvidia/version")  # of the driver; Linux alone tells it here


def environment() -> dict[str, str]:
    """All that is known of this machine and this installation, by name; what the system does not tell is left out."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    flags = cpu_fields().get("flags", "").split()
    found = {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu_name(),
        "cores": str(os.cpu_count()),
        "cores allowed": str(cores()),
        "CPU quota": _cpu_quota(),
        "extensions": " ".join(name for name in EXTENSIONS if name in flags),
        "governor": _first_line(CPUS / "cpu0" / "cpufreq" / "scaling_governor"),
        "memory": _memory(),
        "memory limit": _memory_limit(),
        "virtual machine": "yes" if "hypervisor" in flags else None,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **packages,
        **{name: os.environ[name] for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY") if name in os.environ},
    }
    return {name: value for name, value in found.items() if value}


def gpu_environment(device: int = 0) -> dict[str, str]:
    """The GPU that figures are of, as its driver tells it; what it does not tell is left out.

    Args:
        device: Which one, as CUDA counts.
    """
    from fer_edge.engines.tensorrt.driver import read_driver  # a cold start, which asks for memory, must not pay for it

    found = {"GPU device": str(device)}
    with suppress(EngineUnavailableError):
        driver = read_driver()
        gpu = driver.gpu(device)
        found |= {"GPU": gpu.name, "GPU target": gpu.target, "GPU memory": f"{gpu.memory_mb} MB"}
        found["CUDA of the driver"] = ".".join(map(str, driver.cuda))
    module = re.search(r"\s(\d{3}\.[\d.]+)\s", _first_line(NVIDIA) or "")
    return found | ({"GPU driver": module[1]} if module else {})


def memory_mb() -> float | None:
    """Resident size of this process; None where the system does not tell."""
    return _status_mb("VmRSS")


def peak_memory_mb() -> float | None:
    """Largest resident size of this process so far; None where the system does not tell."""
    high = _status_mb("VmHWM")
    if high is not None:
        return high
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024


def _status_mb(name: str) -> float | None:
    for line in _lines(Path("/proc/self/status")):
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    return None


def _memory() -> str | None:
    total = _memory_bytes()
    return None if total is None else f"{total / (1 << 30):.1f} GiB"


def _memory_bytes() -> int | None:
    total = next((line.split()[1] for line in _lines(Path("/proc/meminfo")) if line.startswith("MemTotal:")), None)
    return None if total is None else int(total) << 10


def _memory_limit() -> str | None:
    """What this process's groups may use, where that is less than the machine has."""
    limit, total = memory_limit(), _memory_bytes()
    return None if limit is None or (total is not None and limit >= total) else f"{limit / (1 << 30):.2g} GiB"


def _cpu_quota() -> str | None:
    """Processor time that this process's groups may use, `0.5 cores`."""
    limit = cpu_limit()
    return None if limit is None else f"{limit:.3g} cores"


def _first_line(path: Path) -> str | None:
    return next(iter(_lines(path)), None)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
