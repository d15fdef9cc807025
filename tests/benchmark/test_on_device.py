"""Timing on a device's own clock, on a double of the driver; and what NVML tells of a GPU."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fer_edge.benchmark import gpu as gpu_module
from fer_edge.benchmark.gpu import GpuSampler
from fer_edge.benchmark.scenarios import on_device
from fer_edge.benchmark.scenarios.on_device import run_on_device
from fer_edge.benchmark.workload import synthetic_workload
from fer_edge.engines.base import Artifact, DeviceTiming, RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.errors import EngineUnavailableError
from tests.benchmark.clocks import MS, FakeClock
from tests.cuda_double import Gpu
from tests.engines.tensorrt.test_runner import load
from tests.tiny import tiny_onnx


def test_an_engine_with_a_device_is_timed_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_device, "WARM_UP", 0.001)
    monkeypatch.setattr(on_device, "RUNS", 20)
    shares: list[float] = []
    with load(Gpu(), 4) as runner:
        found = run_on_device(runner, synthetic_workload(), 0.001, progress=shares.append)
    assert found is not None
    assert [(one.batch, one.graph) for one in found.batches] == [
        (batch, graph) for batch in (1, 2, 4) for graph in (True, False)
    ]
    first = found.batches[0]
    assert first.total.mean == first.copy_in.mean + first.compute.mean + first.copy_out.mean
    assert found.gpu is not None or found.gpu_reason
    assert shares == sorted(shares) and shares[-1] < 1


def test_a_gpu_is_warmed_up_and_timed_for_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, runs = FakeClock(), []

    def wind(batch: int, repeats: int, *, graph: bool = True) -> DeviceTiming:
        """A millisecond a run."""
        runs.append(repeats)
        clock.time += repeats * MS
        return DeviceTiming(*np.ones((3, repeats)))

    with load(Gpu(), 1) as runner:
        monkeypatch.setattr(runner, "time_on_device", wind)
        short = run_on_device(runner, synthetic_workload(), 0.001, now=clock.now)
        assert runs == [*[20] * 15, 1000] * 2, "0.3 s of warm-up, with the graph and without"
        long = run_on_device(runner, synthetic_workload(), 6.0, now=clock.now)
    assert short is not None and long is not None
    assert [one.total.count for one in short.batches] == [1000, 1000]
    assert short.batches[0].total.p99.high is not None
    assert [one.total.count for one in long.batches] == [3000, 3000]


def test_an_engine_without_a_device_has_nothing_to_tell() -> None:
    with get_engine("openvino").load(Artifact(tiny_onnx(), None, 4), RunOptions()) as runner:
        assert run_on_device(runner, synthetic_workload(), 0.001) is None


PLACES = ["0000:41:00.0", "0000:01:00.0"]  # of CUDA's GPUs


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_module, "pci_bus_id", PLACES.__getitem__)


class Nvml:
    """NVML's functions that are sampled, of a GPU that is too hot."""

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

    def nvmlDeviceGetHandleByPciBusId(self, place: str) -> int:
        if place != PLACES[0]:
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


@pytest.mark.usefixtures("places")
def test_the_state_of_a_gpu_is_sampled_meanwhile() -> None:
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


@pytest.mark.usefixtures("places")
def test_a_gpu_that_tells_little_or_nothing() -> None:
    with GpuSampler(nvml=Nvml(power=False)) as sampler:
        time.sleep(0.02)
    assert sampler.state is not None and sampler.state.power_w is None
    nvml = Nvml()
    with GpuSampler(1, nvml) as sampler:
        pass
    assert sampler.state is None and sampler.reason == "NVML tells nothing here: Invalid Argument"
    assert nvml.open == 0


def test_a_gpu_that_the_driver_does_not_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def unplaced(index: int) -> str:
        raise EngineUnavailableError(f"the NVIDIA driver does not tell where GPU {index} is")

    monkeypatch.setattr(gpu_module, "pci_bus_id", unplaced)
    nvml = Nvml()
    with GpuSampler(nvml=nvml) as sampler:
        pass
    assert sampler.reason == "NVML tells nothing here: the NVIDIA driver does not tell where GPU 0 is"
    assert nvml.open == 0


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize("lost", [("nvmlDeviceGetName",), ("nvmlShutdown",), ("nvmlDeviceGetName", "nvmlShutdown")])
def test_a_gpu_that_is_lost_at_the_end_ends_no_measurement(lost: tuple[str, ...]) -> None:
    def fail(*arguments: Any) -> None:
        raise Nvml.NVMLError("GPU is lost")

    nvml = Nvml()
    with GpuSampler(nvml=nvml) as sampler:
        for name in lost:
            setattr(nvml, name, fail)
    if "nvmlDeviceGetName" in lost:
        assert sampler.state is None
        assert sampler.reason == "the GPU's state could not be read: GPU is lost"
    else:
        assert sampler.state is not None and not sampler.reason
    assert nvml.open == ("nvmlShutdown" in lost)
