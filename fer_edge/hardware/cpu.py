"""CPU: model, usable cores, default number of inference threads, and sensors."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable
from pathlib import Path

from fer_edge.hardware.limits import cpu_limit, read_text

CPUINFO = Path("/proc/cpuinfo")
CPUS = Path("/sys/devices/system/cpu")
THERMAL = Path("/sys/class/thermal")
BOARD = Path("/proc/device-tree/model")  # names boards whose CPU reports no model name
FIRST_CPU_BYTES = 8192  # enough for the entry of the first processor


def cpu_name() -> str:
    """Return the CPU's name, with family and model number where a virtual machine hides the model name."""
    fields = cpu_fields()
    name = fields.get("model name") or read_text(BOARD).strip("\0\n ") or platform.processor() or platform.machine()
    if any(character.isdigit() for character in name) or not {"cpu family", "model"} <= fields.keys():
        return name
    return f"{name} (family {fields['cpu family']}, model {fields['model']})"


def processors() -> int:
    """Return the number of processors that this process is allowed to run on."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def cores() -> int:
    """Return the number of allowed processors, or the CPU quota of the control groups (rounded up) if it is lower."""
    limit = cpu_limit()
    return processors() if limit is None else max(1, min(processors(), math.ceil(limit)))


def default_threads(*, respects_affinity: bool) -> int | None:
    """Return the default number of threads for one inference: at most `cores`; None for the engine's own default.

    Engines count the machine's processors and ignore CPU quotas of control groups. With more threads than the quota
    allows, the quota is used up early in each period, and all threads are suspended until the next one.

    Args:
        respects_affinity: Whether the engine counts only the processors that the process is allowed to run on.
    """
    counted = processors() if respects_affinity else os.cpu_count() or 1
    return cores() if cores() < counted else None


def throttle_count() -> int | None:
    """Return the number of thermal throttling events of all cores since boot; None if unknown."""
    return _sum([*CPUS.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")])


def frequency_mhz() -> float | None:
    """Return the mean clock frequency of all cores in MHz; None if unknown."""
    paths = [*CPUS.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")]
    total = _sum(paths)
    return None if total is None else total / len(paths) / 1000


def temperature() -> float | None:
    """Return the highest temperature of all sensors in degrees Celsius; None if unknown."""
    zones = [value for path in THERMAL.glob("thermal_zone*/temp") if (value := _number(path))]
    return max(zones) / 1000 if zones else None


def cpu_fields() -> dict[str, str]:
    """Return the first processor's fields in `/proc/cpuinfo`; empty on systems other than Linux."""
    fields: dict[str, str] = {}
    try:
        with CPUINFO.open() as file:
            lines = file.read(FIRST_CPU_BYTES).splitlines()
    except OSError:
        return fields
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in fields:
            break
        fields[name.strip()] = value.strip()
    return fields


def _sum(paths: list[Path]) -> int | None:
    """Return the sum of the numbers in readable files; None if there are none."""
    values = [number for path in paths if (number := _number(path)) is not None]
    return sum(values) if values else None


def _number(path: Path) -> int | None:
    """Return the number in a file; None if it is unreadable."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
