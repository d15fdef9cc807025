"""The logic of scenarios, on a clock that the tests wind."""

from __future__ import annotations

import gc
import time

import numpy as np
import pytest

from fer_edge.bench.scenarios.batches import summarise_batch
from fer_edge.bench.scenarios.multi_stream import run_streams, summarise_streams
from fer_edge.bench.scenarios.open_loop import run_open_loop
from fer_edge.bench.scenarios.single_stream import run_queries, summarise_single_stream
from fer_edge.bench.scenarios.sustained import WINDOWS, run_sustained
from fer_edge.bench.workload import no_garbage_collection
from tests.bench.clocks import MS, FakeClock, Service


def test_a_single_stream_runs_for_so_many_queries_and_so_long() -> None:
    clock = FakeClock()
    assert len(run_queries(Service(clock, 1.0), 100, 0.01, now=clock.now)) == 100
    clock = FakeClock()
    stamps = run_queries(Service(clock, 1.0), 10, 0.5, now=clock.now)
    assert len(stamps) == pytest.approx(500, abs=1)


def test_warm_up_is_made_up_for() -> None:
    clock = FakeClock()
    stamps = run_queries(Service(clock, *np.linspace(20, 2, 20), 1.0, stages=3), 200, 0, now=clock.now)
    found = summarise_single_stream(stamps)
    assert found.warm_up == 20 and found.first_ms == 20
    assert found.latency.count == 200, "as many queries as were asked for are left"
    assert found.latency.max == 1 and not found.as_long_as_mlperf
    assert list(found.stages) == ["preprocess", "inference", "postprocess"]
    assert sum(stage.mean for stage in found.stages.values()) == pytest.approx(1, abs=1e-5)


def test_mlperf_wants_queries_and_time() -> None:
    clock = FakeClock()
    assert summarise_single_stream(run_queries(Service(clock, 50.0, stages=3), 1024, 60, now=clock.now)).seconds >= 60
    clock = FakeClock()
    stamps = run_queries(Service(clock, 50.0, stages=3), 1300, 60, now=clock.now)
    assert summarise_single_stream(stamps).as_long_as_mlperf


def test_frames_come_when_they_are_due() -> None:
    clock = FakeClock()
    service = Service(clock, 1.0)
    found = run_open_loop(service, 100, 1.0, now=clock.now, sleep=clock.sleep)
    gaps = np.diff(service.begun[1:])  # the first is no frame
    assert np.allclose(gaps, 10 * MS, atol=2000)
    assert (found.frames, found.late, found.keeps_up) == (100, 0, True)
    assert found.busy_share == pytest.approx(0.1, abs=0.001)
    assert found.latency.max == pytest.approx(1, abs=2e-3)


def test_one_slow_frame_makes_those_behind_it_late_too() -> None:
    clock = FakeClock()
    # One frame of 44 ms in a period of 10, then frames of 5: they are done 44, 39, 34, 29, 24, 19, 14, 9 ms after due.
    found = run_open_loop(Service(clock, 5, 44, 5), 100, 1.0, now=clock.now, sleep=clock.sleep)
    assert found.late == 7
    assert found.latency.max == pytest.approx(44, abs=2e-3)
    # A closed loop would have seen one.
    assert found.keeps_up and found.late_share.value == 0.07


def test_a_machine_that_falls_behind_is_not_waited_for() -> None:
    clock = FakeClock()
    service = Service(clock, 20.0)
    found = run_open_loop(service, 100, 10.0, now=clock.now, sleep=clock.sleep)
    assert not found.keeps_up
    # Each frame adds 10 ms to the backlog; after 1 s it stops, and what was not served is late.
    assert len(service.begun) == pytest.approx(101, abs=2)
    assert (found.frames, found.late) == (1000, 1000)
    assert found.busy_share == pytest.approx(1, abs=0.01)


def test_drift_is_told_from_noise() -> None:
    clock = FakeClock()
    found = run_sustained(Service(clock, *np.linspace(10, 13, 10_000)), 115.0, now=clock.now)
    assert len(found.windows) == WINDOWS
    assert found.drifts and found.drift.value > 10  # 30 % in two minutes
    assert found.slowest_to_fastest == pytest.approx(1.3, abs=0.03)
    assert sum(window.queries for window in found.windows) == pytest.approx(10_000, abs=50)
    clock = FakeClock()
    steady = run_sustained(Service(clock, *np.random.default_rng(0).normal(10, 0.5, 7000)), 60.0, now=clock.now)
    assert not steady.drifts


def test_streams_add_up() -> None:
    fast = 10 * MS * np.stack([np.arange(100), np.arange(1, 101)], axis=1)
    slow = 20 * MS * np.stack([np.arange(50), np.arange(1, 51)], axis=1)
    found = summarise_streams([fast, slow], batch=2, threads=1)
    assert found.images_per_second == pytest.approx(2 * (100 + 50))
    assert found.slowest_stream == pytest.approx(50 / 75)
    assert (found.streams, found.latency.count, found.latency.min, found.latency.max) == (2, 150, 10, 20)


def test_streams_run_at_the_same_time_and_their_errors_come_back() -> None:
    def query() -> tuple[int, ...]:
        started = time.perf_counter_ns()
        time.sleep(0.002)
        return started, time.perf_counter_ns()

    found = run_streams([query, query, query], 0.1)
    assert found.streams == 3 and found.latency.count >= 15

    def broken() -> tuple[int, ...]:
        raise ValueError("no such frame")

    with pytest.raises(ValueError, match="no such frame"):
        run_streams([query, broken], 0.05)


def test_batches_count_images() -> None:
    found = summarise_batch(4, np.full(20, 8 * MS))
    assert found.images_per_second == pytest.approx(500)
    assert found.latency.p50.value == 8


def test_garbage_is_not_collected_meanwhile() -> None:
    assert gc.isenabled()
    with no_garbage_collection():
        with no_garbage_collection():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
