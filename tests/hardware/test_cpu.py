"""CPU name, usable cores and default threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fer_edge.environment import environment
from fer_edge.hardware import cpu, limits


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AMD EPYC", "AMD EPYC (family 25, model 17)"),  # in a virtual machine, any EPYC has this name
        ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"),
    ],
)
def test_cpu_without_model_number_gets_family_and_model(
    name: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: {name}\n\nprocessor\t: 1\n")
    monkeypatch.setattr(cpu, "CPUINFO", cpuinfo)
    assert cpu.cpu_name() == expected


@pytest.fixture
def machine_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int, int], None]:
    """Return a function that simulates a machine: CPU quota of the group, allowed processors, all processors."""

    def simulate(quota: str, allowed: int, processors: int) -> None:
        files = {
            "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
            "proc/self/cgroup": "0::/",
        }
        for name, text in {**files, "sys/fs/cgroup/cpu.max": quota, "sys/fs/cgroup/memory.max": "1610612736"}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(f"{text}\n")
        monkeypatch.setattr(limits, "ROOT", tmp_path)
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(allowed)), raising=False)
        monkeypatch.setattr(os, "cpu_count", lambda: processors)

    return simulate


@pytest.mark.parametrize(
    ("quota", "cores", "shown"),
    [
        ("max 100000", 99, None),
        ("250000 100000", 3, "2.5 cores"),
        ("50000 100000", 1, "0.5 cores"),
        ("9900000 100000", 99, "99 cores"),
    ],
)
def test_cores_respect_the_cpu_quota(
    quota: str, cores: int, shown: str | None, machine_with: Callable[[str, int, int], None]
) -> None:
    machine_with(quota, 8, 8)
    assert cpu.cores() == min(8, cores)
    description = environment()
    assert description["cores allowed"] == str(min(8, cores))
    assert description.get("CPU quota") == shown
    assert description["memory limit"] == "1.5 GiB"


@pytest.mark.parametrize(
    ("quota", "allowed", "with_affinity", "without_affinity"),
    [
        ("max 100000", 8, None, None),  # the whole machine: the engine's default
        ("800000 100000", 8, None, None),
        ("250000 100000", 8, 3, 3),
        ("50000 100000", 8, 1, 1),
        ("max 100000", 2, None, 2),  # not every engine counts only the allowed processors
        ("150000 100000", 4, 2, 2),
    ],
)
def test_default_threads_respect_quota_and_affinity(
    quota: str,
    allowed: int,
    with_affinity: int | None,
    without_affinity: int | None,
    machine_with: Callable[[str, int, int], None],
) -> None:
    machine_with(quota, allowed, 8)
    assert cpu.default_threads(respects_affinity=True) == with_affinity
    assert cpu.default_threads(respects_affinity=False) == without_affinity
