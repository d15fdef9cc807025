"""Other load on the machine, and facts about it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fer_edge.benchmark import noise
from fer_edge.benchmark.noise import LOAD_FADES, PROC, Noise, NoiseMonitor, _children_seconds
from fer_edge.hardware.cpu import cores

LINUX = Path("/proc/stat").exists()
SPIN = "import time\nend = time.time() + {}\nwhile time.time() < end: pass"


def test_quiet_machines_give_no_warning() -> None:
    assert Noise(0.5, 0.02, 0.0, 3.0, 0).warnings == ()
    assert Noise(None, None, None, None, None).warnings == ()


@pytest.mark.parametrize("others", [None, 0.0007, 0.009])
def test_preemptions_without_other_load_give_no_warning(others: float | None) -> None:
    assert Noise(0.5, others, 0.0, 400.0, 0).warnings == ()


def test_preemptions_with_other_load_give_a_warning() -> None:
    assert Noise(0.5, 0.02, 0.0, 38.2, 0).warnings == (
        "this process was preempted 38 times per second by other processes",
    )


def test_warnings_have_cause_and_amount() -> None:
    assert Noise(cores() + 1.0, 0.31, 0.024, 210.4, 2).warnings == (
        f"the load average of the minute before was {cores() + 1:.1f} on {cores()} cores",
        "other processes used 31 % of the CPU time",
        "the hypervisor took 2.4 % of the CPU time",
        "this process was preempted 210 times per second by other processes",
        "CPU cores were thermally throttled 2 times",
    )


@pytest.mark.skipif(not LINUX, reason="not reported by other systems")
def test_only_other_processes_are_noise() -> None:
    with NoiseMonitor() as alone:
        end = time.time() + 0.5
        while time.time() < end:
            pass
    # Its parent has exited, so it is not a child of this process.
    start = f"subprocess.Popen([sys.executable, '-c', {SPIN.format(3)!r}], stdout=-3, stderr=-3)"
    program = f"import subprocess, sys; print({start}.pid)"
    orphan = int(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)
    try:
        with NoiseMonitor() as disturbed:
            time.sleep(1)
    finally:
        os.kill(orphan, signal.SIGKILL)
    assert alone.noise.others_share is not None and disturbed.noise.others_share is not None
    # Other load on this machine raises the first share too, so only its range is checked.
    assert 0 <= alone.noise.others_share <= 1
    assert disturbed.noise.others_share > 0.3 / cores()


def test_mutual_preemptions_of_many_threads_are_not_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter((1000, 1040, 2000, 9000))
    monkeypatch.setattr(noise, "_preemptions", lambda: next(counts))
    with NoiseMonitor() as monitor:
        time.sleep(0.01)
    with NoiseMonitor(crowded=True) as crowded:
        pass
    assert monitor.noise.preemptions is not None and monitor.noise.preemptions > 0
    assert crowded.noise.preemptions is None


@pytest.mark.skipif(not hasattr(os, "getloadavg"), reason="not reported by other systems")
def test_load_average_of_an_earlier_measurement_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(NoiseMonitor, "_ended", now - LOAD_FADES)
    monkeypatch.setattr(os, "getloadavg", lambda: (2.1, 2.0, 2.0))

    def load_before() -> float | None:
        with NoiseMonitor() as monitor:
            pass
        return monitor.noise.load_before

    assert load_before() == 2.1
    now += 10
    assert load_before() is None, "the load average includes the step before"
    now += LOAD_FADES
    assert load_before() == 2.1


@pytest.mark.skipif(not LINUX, reason="not reported by other systems")
def test_work_of_running_children_is_not_noise() -> None:
    grandchild = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SPIN.format(1.5)!r}])"
    for script in (SPIN.format(1.5), grandchild):
        child = subprocess.Popen([sys.executable, "-c", script])
        before = _children_seconds(PROC / "self")
        time.sleep(1)
        spent = _children_seconds(PROC / "self") - before
        child.kill()
        child.wait()
        assert spent > 0.2
