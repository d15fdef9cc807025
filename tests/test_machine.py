"""Which machine this is."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_edge import machine


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
