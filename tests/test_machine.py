"""Which machine this is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fer_edge import cgroups, machine
from fer_edge.benchmark.environment import environment


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AMD EPYC", "AMD EPYC (family 25, model 17)"),  # what a virtual machine shows of any EPYC
        ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"),
    ],
)
def test_processors_without_a_number_are_told_apart(
    name: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = tmp_path / "cpuinfo"
    shown.write_text(f"processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: {name}\n\nprocessor\t: 1\n")
    monkeypatch.setattr(machine, "CPUINFO", shown)
    assert machine.cpu_name() == expected
    assert machine.machine_name() == f"{expected}, {machine.cores()} cores"


@pytest.fixture
def machine_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int, int], None]:
    """A machine of so many processors, some of which the process may use, in a group with a quota."""

    def make(quota: str, bound: int, there: int) -> None:
        files = {
            "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
            "proc/self/cgroup": "0::/",
        }
        for name, text in {**files, "sys/fs/cgroup/cpu.max": quota, "sys/fs/cgroup/memory.max": "1610612736"}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(f"{text}\n")
        monkeypatch.setattr(cgroups, "ROOT", tmp_path)
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(bound)), raising=False)
        monkeypatch.setattr(os, "cpu_count", lambda: there)

    return make


@pytest.mark.parametrize(
    ("quota", "worth", "shown"),
    [
        ("max 100000", 99, None),
        ("250000 100000", 3, "2.5 cores"),
        ("50000 100000", 1, "0.5 cores"),
        ("9900000 100000", 99, "99 cores"),
    ],
)
def test_cores_are_those_that_a_group_may_keep_busy(
    quota: str, worth: int, shown: str | None, machine_with: Callable[[str, int, int], None]
) -> None:
    machine_with(quota, 8, 8)
    assert machine.cores() == min(8, worth)
    told = environment()
    assert told["cores allowed"] == str(min(8, worth))
    assert told.get("CPU quota") == shown
    assert told["memory limit"] == "1.5 GiB"


@pytest.mark.parametrize(
    ("quota", "bound", "heeding", "others"),
    [
        ("max 100000", 8, None, None),  # the whole machine: the engine's own choice
        ("800000 100000", 8, None, None),
        ("250000 100000", 8, 3, 3),
        ("50000 100000", 8, 1, 1),
        ("max 100000", 2, None, 2),  # bound to two processors, which not every engine sees
        ("150000 100000", 4, 2, 2),
    ],
)
def test_default_threads_are_no_more_than_a_process_may_keep_busy(
    quota: str, bound: int, heeding: int | None, others: int | None, machine_with: Callable[[str, int, int], None]
) -> None:
    machine_with(quota, bound, 8)
    assert machine.default_threads(heeds_affinity=True) == heeding
    assert machine.default_threads(heeds_affinity=False) == others


def test_a_gpu_is_part_of_the_name_where_it_does_the_work() -> None:
    assert machine.machine_name("NVIDIA L4") == f"{machine.machine_name()}, NVIDIA L4"
