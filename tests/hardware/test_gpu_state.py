"""Sampling of a GPU's clocks, with a double of NVML."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from fer_edge.errors import EngineUnavailableError
from fer_edge.hardware import gpu_state
from fer_edge.hardware.gpu_state import GpuSampler

BUS_IDS = ["0000:41:00.0", "0000:01:00.0"]  # PCI bus IDs by CUDA index


@pytest.fixture
def bus_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_state, "pci_bus_id", BUS_IDS.__getitem__)


class Nvml:
    """The sampled functions of NVML, for a GPU that is too hot."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
    nvmlClocksEventReasonNone = 0
    nvmlClocksEventReasonGpuIdle = 1
    nvmlClocksEventReasonSwPowerCap = 4
    nvmlClocksEventReasonHwThermalSlowdown = 0x40

    class NVMLError(Exception):
        pass

    def __init__(self, *, power: bool = True) -> None:
        self.clock, self.power, self.open = 2000, power, 0

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByPciBusId(self, bus_id: str) -> int:
        if bus_id != BUS_IDS[0]:
            raise self.NVMLError("Invalid Argument")
        return 7

    def nvmlDeviceGetClockInfo(self, handle: int, clock: int) -> int:
        assert handle == 7
        self.clock -= 100
        return self.clock if clock == self.NVML_CLOCK_SM else 9000

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(used=512_000_000, total=8_000_000_000)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return 91

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        if not self.power:
            raise self.NVMLError("Not Supported")
        return 200_500

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: int) -> int:
        return 0x41

    def nvmlDeviceGetName(self, handle: int) -> bytes:
        return b"RTX 4070"

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.65"


@pytest.mark.usefixtures("bus_ids")
def test_gpu_is_sampled_during_the_block() -> None:
    nvml = Nvml()
    with GpuSampler(nvml=nvml) as sampler:
        time.sleep(0.15)
    state = sampler.state
    assert state is not None and state.samples >= 2
    assert (state.name, state.driver, state.held_down_by) == ("RTX 4070", "580.65", ("HwThermalSlowdown",))
    assert state.sm_clock_mhz.least < state.sm_clock_mhz.most == 1900
    assert state.memory_used_mb.most == 512
    assert state.power_w is not None and state.power_w.median == 200.5
    assert nvml.open == 0


@pytest.mark.usefixtures("bus_ids")
def test_missing_power_and_failed_nvml_are_accepted() -> None:
    with GpuSampler(nvml=Nvml(power=False)) as sampler:
        time.sleep(0.02)
    assert sampler.state is not None and sampler.state.power_w is None
    nvml = Nvml()
    with GpuSampler(1, nvml) as sampler:
        pass
    assert sampler.state is None and sampler.reason == "NVML is not available: Invalid Argument"
    assert nvml.open == 0


def test_unknown_bus_id_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(index: int) -> str:
        raise EngineUnavailableError(f"no PCI bus ID of GPU {index}")

    monkeypatch.setattr(gpu_state, "pci_bus_id", fail)
    nvml = Nvml()
    with GpuSampler(nvml=nvml) as sampler:
        pass
    assert sampler.reason == "NVML is not available: no PCI bus ID of GPU 0"
    assert nvml.open == 0


@pytest.mark.usefixtures("bus_ids")
@pytest.mark.parametrize("lost", [("nvmlDeviceGetName",), ("nvmlShutdown",), ("nvmlDeviceGetName", "nvmlShutdown")])
def test_gpu_lost_at_the_end_keeps_the_measurement(lost: tuple[str, ...]) -> None:
    def fail(*arguments: Any) -> None:
        raise Nvml.NVMLError("GPU is lost")

    nvml = Nvml()
    with GpuSampler(nvml=nvml) as sampler:
        for name in lost:
            setattr(nvml, name, fail)
    if "nvmlDeviceGetName" in lost:
        assert sampler.state is None
        assert sampler.reason == "cannot read the GPU's state: GPU is lost"
    else:
        assert sampler.state is not None and not sampler.reason
    assert nvml.open == ("nvmlShutdown" in lost)
