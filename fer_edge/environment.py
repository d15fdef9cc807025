"""Hardware, OS and package versions recorded with every result."""

from __future__ import annotations

import datetime
import os
import platform
import re
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fer_edge.errors import EngineUnavailableError
from fer_edge.hardware.cpu import CPUS, cores, cpu_fields, cpu_name
from fer_edge.hardware.limits import cpu_limit, memory_limit, read_text

PACKAGES = ("fer-edge", "numpy", "pillow", "torch")  # and those of the engines
# Instruction sets that determine which kernels an engine uses.
EXTENSIONS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "i8mm")
NVIDIA = Path("/proc/driver/nvidia/version")  # version of the driver; Linux only


def environment() -> dict[str, str]:
    """Return facts about this machine and installation by name, without those that are unknown."""
    from fer_edge.engines.registry import engines  # imported here to keep it out of the cold-start memory

    packages = {}
    for name in (*PACKAGES, *(package.distribution for engine in engines() for package in engine.packages)):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    flags = cpu_fields().get("flags", "").split()
    quota, limit = cpu_limit(), memory_limit()
    meminfo = dict(line.partition(":")[::2] for line in read_text(Path("/proc/meminfo")).splitlines())
    memory = int(meminfo["MemTotal"].split()[0]) << 10 if "MemTotal" in meminfo else None
    if limit is not None and memory is not None and limit >= memory:
        limit = None
    facts = {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu_name(),
        "cores": str(os.cpu_count()),
        "cores allowed": str(cores()),
        "CPU quota": None if quota is None else f"{quota:.3g} cores",
        "extensions": " ".join(name for name in EXTENSIONS if name in flags),
        "governor": read_text(CPUS / "cpu0" / "cpufreq" / "scaling_governor"),
        "memory": None if memory is None else f"{memory / (1 << 30):.1f} GiB",
        "memory limit": None if limit is None else f"{limit / (1 << 30):.2g} GiB",
        "virtual machine": "yes" if "hypervisor" in flags else None,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **packages,
        **{name: os.environ[name] for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY") if name in os.environ},
    }
    return {name: value for name, value in facts.items() if value}


def gpu_environment(device: int = 0) -> dict[str, str]:
    """Return facts about a GPU as its driver reports them, without those that are unknown.

    Args:
        device: CUDA index of the GPU, 0 by default.
    """
    from fer_edge.hardware.gpu import read_driver

    facts = {"GPU device": str(device)}
    with suppress(EngineUnavailableError):
        driver = read_driver()
        gpu = driver.gpu(device)
        facts |= {"GPU": gpu.name, "GPU architecture": gpu.target, "GPU memory": f"{gpu.memory_mb} MB"}
        facts["CUDA of the driver"] = ".".join(map(str, driver.cuda))
    module = re.search(r"\s(\d{3}\.[\d.]+)\s", read_text(NVIDIA))
    return facts | ({"GPU driver": module[1]} if module else {})


def memory_mb() -> float | None:
    """Return the resident memory of this process in MB; None if unknown."""
    return _status_mb("VmRSS")


def peak_memory_mb() -> float | None:
    """Return the peak resident memory of this process in MB; None if unknown."""
    high = _status_mb("VmHWM")
    if high is not None:
        return high
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024  # macOS counts bytes, others KiB


def _status_mb(name: str) -> float | None:
    """Return a field of /proc/self/status in MB."""
    for line in read_text(Path("/proc/self/status")).splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    return None
