"""Timing on the GPU's own clock with a double of the driver."""

from __future__ import annotations

import numpy as np
import pytest

from fer_edge.benchmark.scenarios import on_device
from fer_edge.benchmark.scenarios.on_device import run_on_device
from fer_edge.benchmark.workload import synthetic_workload
from fer_edge.engines.base import DeviceTiming
from tests.benchmark.clocks import MS, FakeClock
from tests.cuda_double import Gpu
from tests.engines.tensorrt.test_runner import load


def test_gpu_engine_is_timed_on_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_device, "WARM_UP", 0.001)
    monkeypatch.setattr(on_device, "RUNS", 20)
    shares: list[float] = []
    with load(Gpu(), 4) as runner:
        result = run_on_device(runner, synthetic_workload(), 0.001, progress=shares.append)
    assert [(batch.batch, batch.graph) for batch in result.batches] == [
        (batch, graph) for batch in (1, 2, 4) for graph in (True, False)
    ]
    first = result.batches[0]
    assert first.total.mean == first.copy_in.mean + first.compute.mean + first.copy_out.mean
    assert result.gpu is not None or result.gpu_reason
    assert shares == sorted(shares) and shares[-1] < 1


def test_gpu_is_warmed_up_and_timed_for_the_minimum_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, runs = FakeClock(), []

    def take_1_ms(batch: int, repeats: int, *, graph: bool = True) -> DeviceTiming:
        runs.append(repeats)
        clock.time += repeats * MS
        return DeviceTiming(*np.ones((3, repeats)))

    with load(Gpu(), 1) as runner:
        monkeypatch.setattr(runner, "time_on_device", take_1_ms)
        short = run_on_device(runner, synthetic_workload(), 0.001, now=clock.now)
        assert runs == [*[20] * 15, 1000] * 2, "0.3 s of warm-up, with the graph and without"
        long = run_on_device(runner, synthetic_workload(), 6.0, now=clock.now)
    assert [batch.total.count for batch in short.batches] == [1000, 1000]
    assert short.batches[0].total.p99.high is not None
    assert [batch.total.count for batch in long.batches] == [3000, 3000]
