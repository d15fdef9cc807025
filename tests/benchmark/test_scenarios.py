"""Logic of the scenarios, on a fake clock."""

from __future__ import annotations

import gc
import itertools
import math
import threading
import time
from collections.abc import Sequence
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.benchmark.report import BenchReport
from fer_edge.benchmark.scenario import Stamps
from fer_edge.benchmark.scenarios.batches import inference, summarise_batch
from fer_edge.benchmark.scenarios.multi_stream import MIN_QUERIES, run_streams, summarise_streams
from fer_edge.benchmark.scenarios.open_loop import run_open_loop
from fer_edge.benchmark.scenarios.single_stream import run_queries, summarise_single_stream
from fer_edge.benchmark.scenarios.sustained import WINDOWS, run_sustained
from fer_edge.benchmark.workload import Query, no_garbage_collection, synthetic_workload
from fer_edge.crop import crop_and_resize
from tests.benchmark.clocks import MS, FakeClock, Service
from tests.cuda_double import Gpu
from tests.engines.tensorrt.test_runner import load


def test_single_stream_reaches_both_minimums() -> None:
    clock = FakeClock()
    assert len(run_queries(Service(clock, 1.0), 100, 0.01, now=clock.now)) == 100, (
        "exactly the minimum without a warm-up"
    )
    clock = FakeClock()
    stamps = run_queries(Service(clock, 1.0), 10, 0.5, now=clock.now)
    assert len(stamps) == pytest.approx(500, abs=1)


def test_warm_up_extends_the_run() -> None:
    clock = FakeClock()
    stamps = run_queries(Service(clock, *np.linspace(20, 2, 20), 1.0, stages=3), 200, 0.001, now=clock.now)
    result = summarise_single_stream(stamps)
    assert result.warm_up == 20 and result.first_ms == 20 and result.steady
    assert 200 <= result.latency.count <= 202, "the minimum remains after the warm-up, and hardly more"
    assert result.latency.max == 1 and not result.as_long_as_mlperf
    assert list(result.stages) == ["preprocess", "inference", "postprocess"]
    assert sum(stage.mean for stage in result.stages.values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 300), st.floats(0.2, 10), st.integers(1, 2000), st.floats(0.001, 3), st.integers(0, 9))
def test_minimums_hold_after_any_warm_up(slow: int, factor: float, queries: int, seconds: float, seed: int) -> None:
    clock = FakeClock()
    noise = np.random.default_rng(seed).gamma(4, 0.25, 20_000)
    noise[:slow] *= factor
    result = summarise_single_stream(run_queries(Service(clock, *noise, stages=3), queries, seconds, now=clock.now))
    assert result.latency.count >= queries
    assert result.seconds >= seconds * (1 - 1e-9)


def test_lasting_change_of_speed_is_not_cut() -> None:
    clock = FakeClock()
    noise = np.random.default_rng(0).normal(0, 0.01, 80_000)
    durations = np.where(np.arange(80_000) < 20_000, 1.20, 0.96) + noise  # 24 s at the first speed
    result = summarise_single_stream(run_queries(Service(clock, *durations, stages=3), 1024, 60, now=clock.now))
    assert (result.warm_up, result.steady) == (0, False)
    assert result.latency.p90.value == pytest.approx(1.20, abs=0.02)


def test_mlperf_requires_queries_and_time() -> None:
    clock = FakeClock()
    assert summarise_single_stream(run_queries(Service(clock, 50.0, stages=3), 1024, 60, now=clock.now)).seconds >= 60
    clock = FakeClock()
    stamps = run_queries(Service(clock, 50.0, stages=3), 1300, 60, now=clock.now)
    assert summarise_single_stream(stamps).as_long_as_mlperf


def test_frames_start_at_their_due_time() -> None:
    clock = FakeClock()
    service = Service(clock, 1.0)
    result = run_open_loop(service, 100, 1.0, now=clock.now, sleep=clock.sleep)
    gaps = np.diff(service.starts[1:])  # the first query warms up
    assert np.allclose(gaps, 10 * MS, atol=2000)
    assert (result.frames, result.late, result.keeps_up) == (100, 0, True)
    assert result.busy_share == pytest.approx(0.1, abs=0.001)
    assert result.latency.max == pytest.approx(1, abs=2e-3)


def test_slow_frame_delays_the_frames_behind_it() -> None:
    clock = FakeClock()
    # One frame of 44 ms with a period of 10 ms, then frames of 5 ms: they finish 44, 39, 34, ..., 9 ms after due time.
    result = run_open_loop(Service(clock, 5, 44, 5), 100, 1.0, now=clock.now, sleep=clock.sleep)
    assert result.late == 7
    assert result.latency.max == pytest.approx(44, abs=2e-3)
    # A closed loop would have one late frame.
    assert result.keeps_up and result.late_share.value == 0.07


def test_run_ends_when_the_backlog_is_1_s() -> None:
    clock = FakeClock()
    service = Service(clock, 20.0)
    result = run_open_loop(service, 100, 10.0, now=clock.now, sleep=clock.sleep)
    assert not result.keeps_up
    # Each frame adds 10 ms to the backlog; the run ends at 1 s, and frames that were not started count as late.
    assert len(service.starts) == pytest.approx(101, abs=2)
    assert (result.frames, result.late) == (1000, 1000)
    assert result.busy_share == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("seconds", [1.0, 5.0, 60.0])
def test_keeping_up_does_not_depend_on_the_duration(seconds: float) -> None:
    clock = FakeClock()
    # 76 frames per second at a rate of 90 Hz: the backlog of a run of 5 s stays below 1 s.
    assert not run_open_loop(Service(clock, 1000 / 76), 90, seconds, now=clock.now, sleep=clock.sleep).keeps_up
    clock = FakeClock()
    assert run_open_loop(Service(clock, 1000 / 91), 90, seconds, now=clock.now, sleep=clock.sleep).keeps_up


def test_very_late_last_frame_does_not_keep_up() -> None:
    clock = FakeClock()
    result = run_open_loop(Service(clock, *[1.0] * 1000, 1500), 100, 10.0, now=clock.now, sleep=clock.sleep)
    assert result.latency.count == 1000 and result.latency.max == pytest.approx(1500, abs=2e-3)
    assert not result.keeps_up


def test_drift_is_distinguished_from_noise() -> None:
    clock = FakeClock()
    result = run_sustained(Service(clock, *np.linspace(10, 13, 10_000)), 115.0, now=clock.now)
    assert len(result.windows) == WINDOWS
    assert result.drifts and result.drift.value > 10  # 30 % in two minutes
    assert result.slowest_to_fastest == pytest.approx(1.3, abs=0.03)
    assert sum(window.queries for window in result.windows) == pytest.approx(10_000, abs=50)
    clock = FakeClock()
    steady = run_sustained(Service(clock, *np.random.default_rng(0).normal(10, 0.5, 7000)), 60.0, now=clock.now)
    assert not steady.drifts


def _closed_loop(durations: Sequence[float], milliseconds: float = math.inf) -> Stamps:
    """Return the stamps of one stream: each query starts at the end of the last, none after `milliseconds`."""
    ends = np.cumsum(np.asarray(durations) * MS).astype(np.int64)
    begins = np.concatenate([[0], ends[:-1]])
    return np.stack([begins, ends], axis=1)[begins < milliseconds * MS]


def test_rates_of_streams_add_up() -> None:
    fast = 10 * MS * np.stack([np.arange(100), np.arange(1, 101)], axis=1)
    slow = 20 * MS * np.stack([np.arange(50), np.arange(1, 51)], axis=1)
    result = summarise_streams([fast, slow], batch=2, threads=1)
    assert result.images_per_second == pytest.approx(2 * (100 + 50))
    assert result.slowest_stream == pytest.approx(50 / 75)
    assert (result.streams, result.latency.count, result.latency.min, result.latency.max) == (2, 150, 10, 20)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), st.integers(1, 32), st.integers(20, 3000), st.integers(0, 300), st.integers(0, 99))
def test_rate_is_at_most_streams_over_latency(streams: int, batch: int, length: int, slow: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    stamps = []
    for mean in rng.uniform(0.5, 4, streams):
        durations = mean * rng.lognormal(0, 0.4, 12_000)
        durations[: int(rng.integers(0, slow + 1))] *= 5
        stamps.append(_closed_loop(durations, length))
    result = summarise_streams(stamps, batch=batch)
    assert result.images_per_second <= streams * batch / (result.latency.mean / 1e3) * (1 + 1e-9)
    # Each stream may lose its first and last query, and the warm-up is at most a tenth.
    slowest = sum(0.9 * len(stream) - 2 for stream in stamps) / (max(stream[-1, -1] for stream in stamps) / 1e9)
    assert result.images_per_second >= batch * slowest


@pytest.mark.slow
@pytest.mark.xdist_group("benchmark report")
def test_rate_of_real_streams_is_at_most_streams_over_latency(report: BenchReport) -> None:
    runs = [(run.streams, run.images_per_second, run.latency.mean) for run in report.multi_stream]
    runs += [(point.streams * point.batch, point.images_per_second, point.latency.mean) for point in report.scaling]
    assert all(rate <= images / (mean / 1e3) * (1 + 1e-9) for images, rate, mean in runs)


def _contended(first_ms: Sequence[float], milliseconds: float, seed: int) -> list[Stamps]:
    """Return stamps of streams that need one resource for 5 ms; before it, the first ten queries take `first_ms`."""
    rng = np.random.default_rng(seed)
    free, stamps = 0.0, [[(0.0, 0.0)] for _ in first_ms]
    while waiting := [stream for stream, spans in enumerate(stamps) if spans[-1][1] < milliseconds]:
        requests = [
            stamps[stream][-1][1] + (first_ms[stream] if len(stamps[stream]) <= 10 else 0) for stream in waiting
        ]
        ready = [index for index, at in enumerate(requests) if at <= max(free, min(requests))]
        chosen = int(rng.choice(ready))  # the resource is not fair
        free = max(free, requests[chosen]) + 5
        stamps[waiting[chosen]].append((stamps[waiting[chosen]][-1][1], free))
    return [(np.array(spans[1:]) * MS).astype(np.int64) for spans in stamps]


@pytest.mark.parametrize("first_ms", [(0, 0), (0, 100), (0, 0, 0, 300), (20, 80)])
@pytest.mark.parametrize("seed", range(5))
def test_rate_of_contending_streams_is_that_of_the_resource(first_ms: Sequence[float], seed: int) -> None:
    result = summarise_streams(_contended(first_ms, 10_000, seed))
    assert 190 <= result.images_per_second <= 200


def test_slowly_starting_stream_does_not_run_alone_at_the_end() -> None:
    resource = threading.Lock()

    def stream(slow: int) -> Query:
        delays = itertools.chain([0.03] * slow, itertools.repeat(0.0))

        def query() -> tuple[int, ...]:
            started = time.perf_counter_ns()
            time.sleep(next(delays))
            with resource:
                time.sleep(0.005)
            return started, time.perf_counter_ns()

        return query

    result = run_streams([stream(0), stream(9)], 0.5)
    assert result.images_per_second <= 200, "the resource serves one query per 5 ms"


def test_warm_up_is_cut_from_all_streams() -> None:
    slow = _closed_loop([10] * 20 + [2] * 900, 1900)
    fast = _closed_loop([2] * 1000, 1900)
    result = summarise_streams([slow, slow, fast])
    assert result.steady and result.latency.max == 2
    # Queries of the fast stream in the first 200 ms, while the others were slow, do not count.
    assert result.latency.count == pytest.approx(3 * 850, abs=6)
    assert result.images_per_second == pytest.approx(1500, rel=0.01)
    assert result.slowest_stream == pytest.approx(1, abs=0.01)


def test_unsteady_streams_have_no_warm_up() -> None:
    result = summarise_streams([_closed_loop([2] * 300 + [1] * 600)] * 2)
    assert not result.steady and result.latency.count == 1800 and result.latency.p90.value == 2


def test_queries_after_the_first_stream_stopped_do_not_count() -> None:
    result = summarise_streams([_closed_loop([10] * 50), _closed_loop([10] * 50 + [1] * 500)])
    assert result.latency.count == 100 and result.images_per_second == pytest.approx(200)


def test_intervals_of_streams_with_common_load() -> None:
    """The load is an AR(1) process, the same for all streams; the true median is 10 ms."""

    def coverage(streams: int) -> float:
        rng = np.random.default_rng(0)
        medians = [summarise_streams(_common_load(streams, 500, rng)).latency.p50 for _ in range(200)]
        return float(np.mean([(p50.low or 0) <= 10 <= (p50.high or math.inf) for p50 in medians]))

    single, four = coverage(1), coverage(4)
    assert four >= 0.9 and four == pytest.approx(single, abs=0.04)


def _common_load(streams: int, queries: int, rng: np.random.Generator) -> list[Stamps]:
    load = [float(rng.normal())]
    for shock in rng.normal(0, math.sqrt(1 - 0.9**2), queries - 1):
        load.append(0.9 * load[-1] + float(shock))
    begins = 20 * MS * np.arange(queries)
    latencies = 10 + np.array(load) + rng.normal(0, 0.3, (streams, queries))
    return [np.stack([begins, begins + (latency * MS).astype(np.int64)], axis=1) for latency in latencies]


def test_streams_run_in_parallel_and_raise_errors() -> None:
    def query() -> tuple[int, ...]:
        started = time.perf_counter_ns()
        time.sleep(0.002)
        return started, time.perf_counter_ns()

    result = run_streams([query, query, query], 0.1)
    assert result.streams == 3 and result.latency.count >= 15

    def broken() -> tuple[int, ...]:
        raise ValueError("no such frame")

    with pytest.raises(ValueError, match="no such frame"):
        run_streams([query, broken], 0.05)


def test_failing_stream_stops_the_others() -> None:
    def query() -> tuple[int, ...]:
        time.sleep(0.001)
        return 0, 1  # the deadline is never reached

    served = itertools.count()

    def failing() -> tuple[int, ...]:
        if next(served) == 3:
            raise ValueError("out of frames")
        return query()

    with pytest.raises(ValueError, match="out of frames"):
        run_streams([query, failing], 1000)


def test_slow_streams_run_their_minimum_of_queries() -> None:
    def query() -> tuple[int, ...]:
        started = time.perf_counter_ns()
        time.sleep(0.003)
        return started, time.perf_counter_ns()

    result = run_streams([query], 1e-6)
    assert result.latency.count >= MIN_QUERIES


def test_rate_of_batches_counts_images() -> None:
    result = summarise_batch(4, np.full(20, 8 * MS))
    assert result.images_per_second == pytest.approx(500)
    assert result.latency.p50.value == 8


def test_batches_are_in_the_runners_input_buffer() -> None:
    workload = synthetic_workload()
    with load(Gpu(), 4) as runner:
        with mock.patch.object(runner, "infer", wraps=runner.infer) as infer:
            inference(runner, workload, 3)()
        images = infer.call_args.args[0]
        assert runner._is_input(images), "the runner copies other memory"
        assert len(images) == 3 and np.all(images == crop_and_resize(workload.frame, workload.box))


def test_garbage_collection_is_disabled_in_the_block() -> None:
    assert gc.isenabled()
    with no_garbage_collection():
        with no_garbage_collection():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
