"""The logic of scenarios, on a clock that the tests wind."""

from __future__ import annotations

import gc
import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.benchmark.run import BenchReport
from fer_edge.benchmark.scenarios.batches import inference, summarise_batch
from fer_edge.benchmark.scenarios.multi_stream import FEWEST, run_streams, summarise_streams
from fer_edge.benchmark.scenarios.open_loop import run_open_loop
from fer_edge.benchmark.scenarios.scaling import run_scaling
from fer_edge.benchmark.scenarios.single_stream import Stamps, run_queries, summarise_single_stream
from fer_edge.benchmark.scenarios.sustained import WINDOWS, run_sustained
from fer_edge.benchmark.workload import Query, no_garbage_collection, synthetic_workload
from fer_edge.crop import crop_and_resize
from fer_edge.errors import ConfigError
from tests.benchmark.clocks import MS, FakeClock, Service
from tests.cuda_double import Gpu
from tests.engines.tensorrt.test_runner import load


def test_a_single_stream_runs_for_so_many_queries_and_so_long() -> None:
    clock = FakeClock()
    assert len(run_queries(Service(clock, 1.0), 100, 0.01, now=clock.now)) == 100, "no more where nothing is cut"
    clock = FakeClock()
    stamps = run_queries(Service(clock, 1.0), 10, 0.5, now=clock.now)
    assert len(stamps) == pytest.approx(500, abs=1)


def test_warm_up_is_made_up_for() -> None:
    clock = FakeClock()
    stamps = run_queries(Service(clock, *np.linspace(20, 2, 20), 1.0, stages=3), 200, 0.001, now=clock.now)
    found = summarise_single_stream(stamps)
    assert found.warm_up == 20 and found.first_ms == 20 and found.steady
    assert 200 <= found.latency.count <= 202, "as many queries as were asked for are left, and hardly more"
    assert found.latency.max == 1 and not found.as_long_as_mlperf
    assert list(found.stages) == ["preprocess", "inference", "postprocess"]
    assert sum(stage.mean for stage in found.stages.values()) == pytest.approx(1, abs=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 300), st.floats(0.2, 10), st.integers(1, 2000), st.floats(0.001, 3), st.integers(0, 9))
def test_what_was_promised_is_left_whatever_the_warm_up(
    slow: int, factor: float, queries: int, seconds: float, seed: int
) -> None:
    clock = FakeClock()
    noise = np.random.default_rng(seed).gamma(4, 0.25, 20_000)
    noise[:slow] *= factor
    found = summarise_single_stream(run_queries(Service(clock, *noise, stages=3), queries, seconds, now=clock.now))
    assert found.latency.count >= queries
    assert found.seconds >= seconds * (1 - 1e-9)


def test_a_machine_that_changes_its_speed_is_not_made_to_look_faster() -> None:
    clock = FakeClock()
    noise = np.random.default_rng(0).normal(0, 0.01, 80_000)
    durations = np.where(np.arange(80_000) < 20_000, 1.20, 0.96) + noise  # 24 s at the first speed
    found = summarise_single_stream(run_queries(Service(clock, *durations, stages=3), 1024, 60, now=clock.now))
    assert (found.warm_up, found.steady) == (0, False)
    assert found.latency.p90.value == pytest.approx(1.20, abs=0.02)


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


@pytest.mark.parametrize("seconds", [1.0, 5.0, 60.0])
def test_keeping_up_does_not_depend_on_how_long_the_run_is(seconds: float) -> None:
    clock = FakeClock()
    # 76 frames a second where 90 come: in 5 s the backlog does not reach a second.
    assert not run_open_loop(Service(clock, 1000 / 76), 90, seconds, now=clock.now, sleep=clock.sleep).keeps_up
    clock = FakeClock()
    assert run_open_loop(Service(clock, 1000 / 91), 90, seconds, now=clock.now, sleep=clock.sleep).keeps_up


def test_a_last_frame_that_is_done_much_too_late_is_not_kept_up_with() -> None:
    clock = FakeClock()
    found = run_open_loop(Service(clock, *[1.0] * 1000, 1500), 100, 10.0, now=clock.now, sleep=clock.sleep)
    assert found.latency.count == 1000 and found.latency.max == pytest.approx(1500, abs=2e-3)
    assert not found.keeps_up


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


def _in_a_row(durations: Sequence[float], milliseconds: float = math.inf) -> Stamps:
    """One stream's stamps: each query begins when the last one is done, none after so long."""
    ends = np.cumsum(np.asarray(durations) * MS).astype(np.int64)
    begins = np.concatenate([[0], ends[:-1]])
    return np.stack([begins, ends], axis=1)[begins < milliseconds * MS]


def test_streams_add_up() -> None:
    fast = 10 * MS * np.stack([np.arange(100), np.arange(1, 101)], axis=1)
    slow = 20 * MS * np.stack([np.arange(50), np.arange(1, 51)], axis=1)
    found = summarise_streams([fast, slow], batch=2, threads=1)
    assert found.images_per_second == pytest.approx(2 * (100 + 50))
    assert found.slowest_stream == pytest.approx(50 / 75)
    assert (found.streams, found.latency.count, found.latency.min, found.latency.max) == (2, 150, 10, 20)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), st.integers(1, 32), st.integers(20, 3000), st.integers(0, 300), st.integers(0, 99))
def test_no_rate_passes_streams_over_latency(streams: int, batch: int, length: int, slow: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    stamps = []
    for mean in rng.uniform(0.5, 4, streams):
        durations = mean * rng.lognormal(0, 0.4, 12_000)
        durations[: int(rng.integers(0, slow + 1))] *= 5
        stamps.append(_in_a_row(durations, length))
    found = summarise_streams(stamps, batch=batch)
    assert found.images_per_second <= streams * batch / (found.latency.mean / 1e3) * (1 + 1e-9)
    # Of each stream, the first and the last query may be lost in part, and the warm-up is a tenth at most.
    slowest = sum(0.9 * len(each) - 2 for each in stamps) / (max(each[-1, -1] for each in stamps) / 1e9)
    assert found.images_per_second >= batch * slowest


def test_real_streams_do_not_pass_it_either(report: BenchReport) -> None:
    found = [(one.streams, one.images_per_second, one.latency.mean) for one in report.multi_stream]
    found += [(one.streams * one.batch, one.images_per_second, one.latency.mean) for one in report.scaling]
    assert all(rate <= images / (mean / 1e3) * (1 + 1e-9) for images, rate, mean in found)


def _contended(first_ms: Sequence[float], milliseconds: float, seed: int) -> list[Stamps]:
    """Streams whose queries need a resource for 5 ms each; before it, a stream's first ten are busy for so long."""
    rng = np.random.default_rng(seed)
    free, stamps = 0.0, [[(0.0, 0.0)] for _ in first_ms]
    while waiting := [stream for stream, found in enumerate(stamps) if found[-1][1] < milliseconds]:
        asked = [stamps[each][-1][1] + (first_ms[each] if len(stamps[each]) <= 10 else 0) for each in waiting]
        ready = [index for index, at in enumerate(asked) if at <= max(free, min(asked))]
        chosen = int(rng.choice(ready))  # the resource is no fair one
        free = max(free, asked[chosen]) + 5
        stamps[waiting[chosen]].append((stamps[waiting[chosen]][-1][1], free))
    return [(np.array(found[1:]) * MS).astype(np.int64) for found in stamps]


@pytest.mark.parametrize("first_ms", [(0, 0), (0, 100), (0, 0, 0, 300), (20, 80)])
@pytest.mark.parametrize("seed", range(5))
def test_streams_share_what_there_is(first_ms: Sequence[float], seed: int) -> None:
    found = summarise_streams(_contended(first_ms, 10_000, seed))
    assert 190 <= found.images_per_second <= 200


def test_a_stream_that_starts_slowly_does_not_run_on_alone() -> None:
    resource = threading.Lock()

    def stream(slow: int) -> Query:
        left = itertools.chain([0.03] * slow, itertools.repeat(0.0))

        def query() -> tuple[int, ...]:
            started = time.perf_counter_ns()
            time.sleep(next(left))
            with resource:
                time.sleep(0.005)
            return started, time.perf_counter_ns()

        return query

    found = run_streams([stream(0), stream(9)], 0.5)
    assert found.images_per_second <= 200, "the resource serves one in 5 ms"


def test_a_warm_up_is_cut_from_all_streams_at_once() -> None:
    slow = _in_a_row([10] * 20 + [2] * 900, 1900)
    fast = _in_a_row([2] * 1000, 1900)
    found = summarise_streams([slow, slow, fast])
    assert found.steady and found.latency.max == 2
    # What the fast stream did in the first 200 ms, while the others were slow, does not count.
    assert found.latency.count == pytest.approx(3 * 850, abs=6)
    assert found.images_per_second == pytest.approx(1500, rel=0.01)
    assert found.slowest_stream == pytest.approx(1, abs=0.01)


def test_streams_that_change_their_speed_are_left_whole_and_say_so() -> None:
    found = summarise_streams([_in_a_row([2] * 300 + [1] * 600)] * 2)
    assert not found.steady and found.latency.count == 1800 and found.latency.p90.value == 2


def test_queries_after_the_first_stream_stopped_do_not_count() -> None:
    found = summarise_streams([_in_a_row([10] * 50), _in_a_row([10] * 50 + [1] * 500)])
    assert found.latency.count == 100 and found.images_per_second == pytest.approx(200)


def test_streams_share_the_weather_and_their_intervals_know() -> None:
    """How slow the machine is follows an AR(1) process, the same for all streams; the true median is 10 ms."""

    def held(streams: int) -> float:
        rng = np.random.default_rng(0)
        found = [summarise_streams(_common_load(streams, 500, rng)).latency.p50 for _ in range(200)]
        return float(np.mean([(p50.low or 0) <= 10 <= (p50.high or math.inf) for p50 in found]))

    one, four = held(1), held(4)
    assert four >= 0.9 and four == pytest.approx(one, abs=0.04)


def _common_load(streams: int, queries: int, rng: np.random.Generator) -> list[Stamps]:
    load = [float(rng.normal())]
    for shock in rng.normal(0, math.sqrt(1 - 0.9**2), queries - 1):
        load.append(0.9 * load[-1] + float(shock))
    begins = 20 * MS * np.arange(queries)
    latencies = 10 + np.array(load) + rng.normal(0, 0.3, (streams, queries))
    return [np.stack([begins, begins + (each * MS).astype(np.int64)], axis=1) for each in latencies]


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


def test_a_stream_that_fails_later_stops_the_others() -> None:
    def query() -> tuple[int, ...]:
        time.sleep(0.001)
        return 0, 1  # never near the deadline

    served = itertools.count()

    def failing() -> tuple[int, ...]:
        if next(served) == 3:
            raise ValueError("out of frames")
        return query()

    with pytest.raises(ValueError, match="out of frames"):
        run_streams([query, failing], 1000)


def test_slow_streams_have_their_fewest_queries_however_short_the_run() -> None:
    def query() -> tuple[int, ...]:
        started = time.perf_counter_ns()
        time.sleep(0.003)
        return started, time.perf_counter_ns()

    found = run_streams([query], 1e-6)
    assert found.latency.count >= FEWEST


def _never() -> tuple[int, ...]:
    raise AssertionError("nothing must run")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -1.0, 1e300, 1e-300])
@pytest.mark.parametrize(
    "run",
    [
        lambda value: run_queries(_never, 1, value),
        lambda value: run_streams([_never], value),
        lambda value: run_open_loop(_never, 30, value),
        lambda value: run_open_loop(_never, value, 1),
        lambda value: run_sustained(_never, value),
        lambda value: run_scaling(lambda threads: pytest.fail(), synthetic_workload(), value, (1,), (1,)),
    ],
)
def test_times_and_rates_that_no_clock_can_count_are_refused(run: Callable[[float], object], value: float) -> None:
    with pytest.raises(ConfigError, match="expected a number above 0 and up to 1,000,000,000"):
        run(value)


def test_batches_count_images() -> None:
    found = summarise_batch(4, np.full(20, 8 * MS))
    assert found.images_per_second == pytest.approx(500)
    assert found.latency.p50.value == 8


def test_batches_are_handed_over_in_the_runners_own_memory() -> None:
    workload = synthetic_workload()
    with load(Gpu(), 4) as runner:
        with mock.patch.object(runner, "infer", wraps=runner.infer) as infer:
            inference(runner, workload, 3)()
        images = infer.call_args.args[0]
        assert runner._is_input(images), "the runner copies what lies elsewhere"
        assert len(images) == 3 and np.all(images == crop_and_resize(workload.frame, workload.box))


def test_garbage_is_not_collected_meanwhile() -> None:
    assert gc.isenabled()
    with no_garbage_collection():
        with no_garbage_collection():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
