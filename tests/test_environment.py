"""Facts about this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_edge import environment as environment_module
from fer_edge.environment import environment, gpu_environment, memory_mb, peak_memory_mb
from fer_edge.errors import EngineUnavailableError
from fer_edge.hardware import gpu
from fer_edge.hardware.gpu import Driver, Gpu

LINUX = Path("/proc/stat").exists()


def test_environment_has_machine_and_versions() -> None:
    facts = environment()
    assert {"cpu", "cores", "date", "numpy", "openvino", "pillow", "python", "system"} <= set(facts)
    assert all(isinstance(value, str) and value for value in facts.values())


@pytest.mark.skipif(not LINUX, reason="not reported by other systems")
def test_memory_is_at_most_its_peak() -> None:
    now, peak = memory_mb(), peak_memory_mb()
    assert now is not None and peak is not None and 10 < now <= peak


def test_gpu_facts_come_from_its_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gpus = (Gpu("NVIDIA RTX A2000", "sm86", 6144, integrated=False), Gpu("NVIDIA H100", "sm90", 81_559, False))
    monkeypatch.setattr(gpu, "read_driver", lambda: Driver((13, 0), gpus))
    version = tmp_path / "version"
    monkeypatch.setattr(environment_module, "NVIDIA", version)
    facts = {
        "GPU device": "1",
        "GPU": "NVIDIA H100",
        "GPU architecture": "sm90",
        "GPU memory": "81559 MB",
        "CUDA of the driver": "13.0",
    }
    assert gpu_environment(1) == facts
    version.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC 12.3.0\n"
    )
    assert gpu_environment(1) == {**facts, "GPU driver": "580.65.06"}
    assert gpu_environment(2) == {"GPU device": "2", "GPU driver": "580.65.06"}


def test_gpu_without_a_driver_has_only_its_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_driver() -> Driver:
        raise EngineUnavailableError("no NVIDIA driver here")

    monkeypatch.setattr(gpu, "read_driver", no_driver)
    monkeypatch.setattr(environment_module, "NVIDIA", tmp_path / "version")
    assert gpu_environment() == {"GPU device": "0"}
