"""Who else worked on the machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fer_edge.bench import noise
from fer_edge.bench.environment import environment, memory_mb, peak_memory_mb
from fer_edge.bench.noise import PROC, Noise, Watch, _children_seconds
from fer_edge.machine import cores

LINUX = Path("/proc/stat").exists()
SPIN = "import time\nend = time.time() + {}\nwhile time.time() < end: pass"


def test_quiet_machines_give_no_warning() -> None:
    assert Noise(0.5, 0.02, 0.0, 3.0, 0).warnings == ()
    assert Noise(None, None, None, None, None).warnings == ()


def test_warnings_say_what_and_how_much() -> None:
    assert Noise(cores() + 1.0, 0.31, 0.024, 210.4, 2).warnings == (
        f"{cores() + 1:.1f} processes wanted to run in the minute before, on {cores()} cores",
        "other processes took 31 % of the processors' time",
        "the hypervisor took 2.4 % of the processors' time",
        "this process was preempted 210 times a second",
        "processors were throttled for their temperature 2 times",
    )


@pytest.mark.skipif(not LINUX, reason="other systems do not tell")
def test_own_work_is_not_noise_and_others_is() -> None:
    with Watch() as alone:
        end = time.time() + 0.5
        while time.time() < end:
            pass
    # Started by a program that has ended, it is nobody's child here.
    start = f"subprocess.Popen([sys.executable, '-c', {SPIN.format(3)!r}], stdout=-3, stderr=-3)"
    leave = f"import subprocess, sys; print({start}.pid)"
    left = int(subprocess.run([sys.executable, "-c", leave], check=True, capture_output=True, text=True).stdout)
    try:
        with Watch() as disturbed:
            time.sleep(1)
    finally:
        os.kill(left, signal.SIGKILL)
    assert alone.noise.others_share is not None and disturbed.noise.others_share is not None
    # On a machine that is busy anyway the first share is high too, so only what must be there is asked for.
    assert 0 <= alone.noise.others_share <= 1
    assert disturbed.noise.others_share > 0.3 / cores()


def test_threads_that_preempt_each_other_on_purpose_are_no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter((1000, 1010, 9000, 9030))  # at the start, around the crowded part, at the end
    seconds = iter((0.0, 1.0, 7.0, 9.0))
    monkeypatch.setattr(noise, "_preemptions", lambda: next(counts))
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds))
    with Watch() as watch, watch.crowded():
        pass
    assert watch.noise.preemptions == pytest.approx(40 / 3)


@pytest.mark.skipif(not LINUX, reason="other systems do not tell")
def test_work_of_running_children_is_own_work() -> None:
    grandchild = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SPIN.format(1.5)!r}])"
    for script in (SPIN.format(1.5), grandchild):
        child = subprocess.Popen([sys.executable, "-c", script])
        before = _children_seconds(PROC / "self")
        time.sleep(1)
        spent = _children_seconds(PROC / "self") - before
        child.kill()
        child.wait()
        assert spent > 0.2


def test_environment_names_machine_and_versions() -> None:
    found = environment()
    assert {"cpu", "cores", "date", "numpy", "openvino", "pillow", "python", "system"} <= set(found)
    assert all(isinstance(value, str) and value for value in found.values())


@pytest.mark.skipif(not LINUX, reason="other systems do not tell")
def test_memory_now_is_at_most_its_peak() -> None:
    now, peak = memory_mb(), peak_memory_mb()
    assert now is not None and peak is not None and 10 < now <= peak
