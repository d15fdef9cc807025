"""What the figures are made of; never how large they are."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from fer_edge.bench.gpu import GpuSampler
from fer_edge.bench.latency import bench_recognizer, summarise, synthetic_frame
from fer_edge.recognizer import Recognizer
from tests.cuda_double import Gpu
from tests.engines.tensorrt.test_runner import load
from tests.tiny import LABELS, tiny_bundle


def test_percentiles_are_numpys_in_milliseconds() -> None:
    samples = np.arange(1, 101, dtype=np.int64) * 1_000_000
    found = summarise(samples)
    assert (found.mean, found.p50, found.max) == (50.5, 50.5, 100)
    assert found.p99 == np.percentile(np.arange(1, 101), 99)


def test_report_is_complete(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    frame = synthetic_frame()
    assert frame.shape == (112, 112, 3) and frame.std() > 20
    report = bench_recognizer(lambda: Recognizer.open(path), frame, queries=12, seconds=0.5)
    assert report.queries == 12
    assert set(report.stages) == {"preprocess", "inference", "postprocess"}
    assert [entry.batch for entry in report.sweep] == [1, 2, 4, 8]
    assert {"cpu", "date", "openvino", "python"} <= set(report.environment)


def test_time_ends_a_run_before_its_queries(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer", max_batch=1)
    report = bench_recognizer(lambda: Recognizer.open(path), synthetic_frame(), queries=10**6, seconds=0.05)
    assert 1 <= report.queries < 10**6


def test_an_engine_with_a_device_is_timed_on_it() -> None:
    def open_recognizer() -> Recognizer:
        return Recognizer(load(Gpu(), 4), LABELS)

    report = bench_recognizer(open_recognizer, synthetic_frame(), queries=10, seconds=0.5)
    assert [(result.batch, result.graph) for result in report.device] == [
        (batch, graph) for batch in (1, 2, 4) for graph in (True, False)
    ]
    first = report.device[0]
    assert first.total.p50 == first.copy_in.p50 + first.compute.p50 + first.copy_out.p50
    assert report.gpu is not None or report.gpu_reason


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

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index:
            raise self.NVMLError("Invalid Argument")
        return 7

    def nvmlDeviceGetClockInfo(self, handle: int, clock: int) -> int:
        self.clock -= 100
        return self.clock if clock == self.NVML_CLOCK_SM else 9000

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


def test_the_state_of_a_gpu_is_sampled_meanwhile() -> None:
    nvml = Nvml()
    with GpuSampler(nvml=nvml) as sampler:
        time.sleep(0.15)
    state = sampler.state
    assert state is not None and state.samples >= 2
    assert (state.name, state.driver, state.held_down_by) == ("RTX 4070", "580.65", ("HwThermalSlowdown",))
    assert state.sm_clock_mhz.least < state.sm_clock_mhz.most == 1900
    assert state.power_w is not None and state.power_w.median == 200.5
    assert nvml.open == 0


def test_a_gpu_that_tells_little_or_nothing() -> None:
    with GpuSampler(nvml=Nvml(power=False)) as sampler:
        time.sleep(0.02)
    assert sampler.state is not None and sampler.state.power_w is None
    with GpuSampler(1, Nvml()) as sampler:
        pass
    assert sampler.state is None and sampler.reason == "NVML tells nothing here: Invalid Argument"
