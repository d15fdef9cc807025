"""Who else worked on the machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fer_edge.benchmark import environment as environment_module
from fer_edge.benchmark import noise
from fer_edge.benchmark.environment import environment, gpu_environment, memory_mb, peak_memory_mb
from fer_edge.benchmark.noise import LOAD_FADES, PROC, Noise, NoiseMonitor, _children_seconds
from fer_edge.engines.tensorrt import driver
from fer_edge.engines.tensorrt.driver import Driver, Gpu
from fer_edge.errors import EngineUnavailableError
from fer_edge.machine import cores

LINUX = Path("/proc/stat").exists()
SPIN = "import time\nend = time.time() + {}\nwhile time.time() < end: pass"


def test_quiet_machines_give_no_warning() -> None:
    assert Noise(0.5, 0.02, 0.0, 3.0, 0).warnings == ()
    assert Noise(None, None, None, None, None).warnings == ()


@pytest.mark.parametrize("others", [None, 0.0007, 0.009])
def test_preemptions_that_are_not_others_doing_give_no_warning(others: float | None) -> None:
    assert Noise(0.5, others, 0.0, 400.0, 0).warnings == ()


def test_preemptions_are_told_where_others_were_at_work() -> None:
    assert Noise(0.5, 0.02, 0.0, 38.2, 0).warnings == (
        "with others at work, this process had to leave a processor 38 times a second",
    )


def test_warnings_say_what_and_how_much() -> None:
    assert Noise(cores() + 1.0, 0.31, 0.024, 210.4, 2).warnings == (
        f"{cores() + 1:.1f} processes wanted to run in the minute before, on {cores()} cores",
        "other processes took 31 % of the processors' time",
        "the hypervisor took 2.4 % of the processors' time",
        "with others at work, this process had to leave a processor 210 times a second",
        "processors were throttled for their temperature 2 times",
    )


@pytest.mark.skipif(not LINUX, reason="other systems do not tell")
def test_own_work_is_not_noise_and_others_is() -> None:
    with NoiseMonitor() as alone:
        end = time.time() + 0.5
        while time.time() < end:
            pass
    # Started by a program that has ended, it is nobody's child here.
    start = f"subprocess.Popen([sys.executable, '-c', {SPIN.format(3)!r}], stdout=-3, stderr=-3)"
    leave = f"import subprocess, sys; print({start}.pid)"
    left = int(subprocess.run([sys.executable, "-c", leave], check=True, capture_output=True, text=True).stdout)
    try:
        with NoiseMonitor() as disturbed:
            time.sleep(1)
    finally:
        os.kill(left, signal.SIGKILL)
    assert alone.noise.others_share is not None and disturbed.noise.others_share is not None
    # On a machine that is busy anyway the first share is high too, so only what must be there is asked for.
    assert 0 <= alone.noise.others_share <= 1
    assert disturbed.noise.others_share > 0.3 / cores()


def test_threads_that_preempt_each_other_on_purpose_are_no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter((1000, 1040, 2000, 9000))
    monkeypatch.setattr(noise, "_preemptions", lambda: next(counts))
    with NoiseMonitor() as watch:
        time.sleep(0.01)
    with NoiseMonitor(crowded=True) as crowded:
        pass
    assert watch.noise.preemptions is not None and watch.noise.preemptions > 0
    assert crowded.noise.preemptions is None


@pytest.mark.skipif(not hasattr(os, "getloadavg"), reason="other systems do not tell")
def test_own_work_of_the_minute_before_is_no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(NoiseMonitor, "_ended", now - LOAD_FADES)
    monkeypatch.setattr(os, "getloadavg", lambda: (2.1, 2.0, 2.0))

    def load_before() -> float | None:
        with NoiseMonitor() as watch:
            pass
        return watch.noise.load_before

    assert load_before() == 2.1
    now += 10
    assert load_before() is None, "the load is that of the step before"
    now += LOAD_FADES
    assert load_before() == 2.1


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


def test_a_gpu_is_named_as_its_driver_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gpus = (Gpu("NVIDIA RTX A2000", "sm86", 6144, integrated=False), Gpu("NVIDIA H100", "sm90", 81_559, False))
    monkeypatch.setattr(driver, "read_driver", lambda: Driver((13, 0), gpus))
    version = tmp_path / "version"
    monkeypatch.setattr(environment_module, "NVIDIA", version)
    known = {
        "GPU device": "1",
        "GPU": "NVIDIA H100",
        "GPU target": "sm90",
        "GPU memory": "81559 MB",
        "CUDA of the driver": "13.0",
    }
    assert gpu_environment(1) == known
    version.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC 12.3.0\n"
    )
    assert gpu_environment(1) == {**known, "GPU driver": "580.65.06"}
    assert gpu_environment(2) == {"GPU device": "2", "GPU driver": "580.65.06"}


def test_a_gpu_that_no_driver_tells_of_ends_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_driver() -> Driver:
        raise EngineUnavailableError("no NVIDIA driver here")

    monkeypatch.setattr(driver, "read_driver", no_driver)
    monkeypatch.setattr(environment_module, "NVIDIA", tmp_path / "version")
    assert gpu_environment() == {"GPU device": "0"}
