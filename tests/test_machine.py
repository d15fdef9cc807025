"""Which machine this is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fer_edge import machine
from fer_edge.bench.environment import environment


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


@pytest.mark.parametrize(
    ("quota", "worth"),
    [("max 100000", 99), ("250000 100000", 3), ("50000 100000", 1), ("9900000 100000", 99), ("", 99), ("1 0", 99)],
)
def test_cores_are_those_that_a_group_may_keep_busy(
    quota: str, worth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = machine.cores()
    given = tmp_path / "cpu.max"
    given.write_text(f"{quota}\n")
    monkeypatch.setattr(machine, "CGROUP", given)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert machine.cores() == min(8, worth)
    told = environment()
    assert told["cores allowed"] == str(min(8, worth))
    assert told.get("CPU quota") == (quota if quota[:1].isdigit() else None)
    monkeypatch.undo()
    assert machine.cores() == allowed


def test_a_gpu_is_part_of_the_name_where_it_does_the_work() -> None:
    assert machine.machine_name("NVIDIA L4") == f"{machine.machine_name()}, NVIDIA L4"
