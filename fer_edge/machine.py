"""Which machine this is, as far as an inference on its processors cares."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable
from pathlib import Path

from fer_edge.cgroups import cpu_limit

CPUINFO = Path("/proc/cpuinfo")
BOARD = Path("/proc/device-tree/model")  # of boards whose processors have no name of their own
FIRST_CPU = 8192  # bytes that hold the first processor's lines


def machine_name(gpu: str | None = None) -> str:
    """Processor and how many of its cores may be used, `AMD EPYC, 2 cores`: what settings are tuned for.

    Args:
        gpu: Name of the GPU that does the work, where one does.
    """
    name = f"{cpu_name()}, {cores()} cores"
    return name if gpu is None else f"{name}, {gpu}"


def cpu_name() -> str:
    """The processor's name as the system gives it; with family and model where a virtual machine hides which it is."""
    fields = cpu_fields()
    name = fields.get("model name") or _board() or platform.processor() or platform.machine()
    if any(character.isdigit() for character in name) or not {"cpu family", "model"} <= fields.keys():
        return name
    return f"{name} (family {fields['cpu family']}, model {fields['model']})"


def processors() -> int:
    """Processors that this process may run on."""
    allowed: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def cores() -> int:
    """Processors that this process may run on, or as many as its groups' processor time is worth, if that is less."""
    limit = cpu_limit()
    return processors() if limit is None else max(1, min(processors(), math.ceil(limit)))


def default_threads(*, heeds_affinity: bool) -> int | None:
    """Threads for one inference where nobody chose: never more than `cores`; None for the engine's own choice.

    Engines count the machine's processors and know no quotas of control groups. Threads beyond the quota use it up
    early in each period, and every thread then stands still until the next.

    Args:
        heeds_affinity: Whether the engine counts only the processors that the process is bound to.
    """
    counted = processors() if heeds_affinity else os.cpu_count() or 1
    return cores() if cores() < counted else None


def cpu_fields() -> dict[str, str]:
    """What Linux says about the first processor; empty elsewhere."""
    fields: dict[str, str] = {}
    try:
        with CPUINFO.open() as file:
            lines = file.read(FIRST_CPU).splitlines()
    except OSError:
        return fields
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in fields:
            break
        fields[name.strip()] = value.strip()
    return fields


def _board() -> str:
    try:
        return BOARD.read_text().strip("\0\n ")
    except (OSError, UnicodeDecodeError):
        return ""
