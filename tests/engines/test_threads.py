"""Limit of CPU threads of all networks together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillWaiting
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge import Recognizer, limit_threads
from fer_edge.engines.base import RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.engines.threads import LIMIT, VARIABLE, ThreadLimit
from fer_edge.errors import ConfigError
from fer_edge.shipped import face_network
from tests.networks import require_networks
from tests.tiny import tiny_bundle

ENGINES = ["openvino", "onnxruntime"]
SECONDS = 20  # timeout for threads
FRAME = np.zeros((112, 112, 3), np.uint8)


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadLimit]:
    """Return the limit of the process without a value, as before the first network."""
    monkeypatch.delenv(VARIABLE, raising=False)
    before = dict(vars(LIMIT))
    LIMIT.__init__()  # type: ignore[misc]
    yield LIMIT
    vars(LIMIT).update(before)


def test_sum_of_all_calls_stays_within_the_limit() -> None:
    limit = ThreadLimit()
    limit.set(3)
    lock, running, sums = threading.Lock(), [0], []

    def work(threads: int) -> None:
        call = object()
        for _ in range(100):
            try:
                limit.acquire(call, threads)
                with lock:
                    running[0] += threads
                    sums.append(running[0])
                with lock:
                    running[0] -= threads
            finally:
                limit.release(call)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, [1, 2, 3, 1, 2, 3]))
    assert len(sums) == 600 and max(sums) == 3
    assert not limit._running and not limit._waiting


def test_large_call_is_not_overtaken_by_small_ones() -> None:
    limit, order = ThreadLimit(), []
    limit.set(2)

    def work(name: str, threads: int) -> None:
        limit.acquire(name, threads)
        order.append(name)
        limit.release(name)

    limit.acquire("first", 1)
    with ThreadPoolExecutor(2) as pool:
        large = pool.submit(work, "large", 2)
        while not limit._waiting:
            pass
        small = pool.submit(work, "small", 1)
        while len(limit._waiting) < 2:
            pass
        limit.release("first")
        large.result(SECONDS), small.result(SECONDS)
    assert order == ["large", "small"]


def test_call_inside_a_call_of_the_same_thread_does_not_wait() -> None:
    limit = ThreadLimit()
    limit.set(1)
    limit.acquire("outer", 1)
    limit.acquire("inner", 1)
    limit.release("inner")
    limit.release("outer")
    limit.acquire("ended by Ctrl-C", 1)
    limit.acquire("ended by Ctrl-C", 1)  # the same network again, whose release is missing
    limit.renew()  # in a forked process
    limit.acquire("other", 1)


def test_interrupted_wait_leaves_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = ThreadLimit()
    limit.set(1)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(limit.acquire, "other", 1).result(SECONDS)

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(limit._changed, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        limit.acquire("call", 1)
    assert not limit._waiting and list(limit._running) == ["other"]


@pytest.mark.parametrize("value", ["0", "1025", "two", "-1", "1.5", "²"])
def test_wrong_variable_is_refused(limit: ThreadLimit, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ConfigError, match=f"the environment variable {VARIABLE} is '{value}'; expected a whole number"):
        limit.threads_of_network(1, respects_affinity=True)


@pytest.mark.parametrize("value", [0, 1025, True, 1.5, "2", None])
def test_wrong_number_is_refused(limit: ThreadLimit, value: Any) -> None:
    with pytest.raises(ConfigError, match="expected a whole number from 1 to 1024"):
        limit_threads(value)


def test_limit_is_set_before_the_first_network(limit: ThreadLimit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "3")
    limit_threads(2)  # instead of the variable
    assert limit.threads_of_network(8, respects_affinity=True) == 2
    assert limit.threads_of_network(1, respects_affinity=True) == 1
    limit_threads(2)
    with pytest.raises(ConfigError, match=r"limit_threads\(3\) is called after a network was opened; call it before"):
        limit_threads(3)


def test_variable_is_the_limit(limit: ThreadLimit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, " 1 ")
    assert limit.threads_of_network(None, respects_affinity=False) == 1


def check_waits(limit: ThreadLimit, run: Callable[[], object]) -> None:
    """Check that a network runs only after another one with all threads has ended."""
    limit.acquire("other", 2)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(run)
        while not limit._waiting:
            assert not call.done()
        with pytest.raises(StillWaiting):
            call.result(0.02)
        limit.release("other")
        call.result(SECONDS)
    assert not limit._running


@pytest.mark.parametrize("engine", ENGINES)
def test_recognizer_counts_for_the_limit(limit: ThreadLimit, tmp_path: Path, engine: str) -> None:
    limit_threads(2)
    with Recognizer.open(tiny_bundle(tmp_path / "a.fer"), engine, threads=4) as recognizer:
        runner: Any = recognizer.runner
        assert runner.threads == 2
        if engine == "openvino":
            compiled = runner._single.get_compiled_model()
            assert compiled.get_property("INFERENCE_NUM_THREADS") == 2
            assert compiled.get_property("ENABLE_CPU_PINNING") is False
        else:
            settings = runner._session.get_session_options()
            assert settings.intra_op_num_threads == 2
            assert settings.get_session_config_entry("session.intra_op.allow_spinning") == "0"
        check_waits(limit, lambda: recognizer.recognize(FRAME))


@pytest.mark.parametrize("engine", ENGINES)
def test_face_network_counts_for_the_limit(limit: ThreadLimit, engine: str) -> None:
    require_networks()
    limit_threads(2)
    graph = get_engine(engine).open_graph(face_network("landmarks"), RunOptions(threads=1))
    shape = tuple(size or 1 for size in graph.port.shape)
    check_waits(limit, graph.compile(shape).run)


def test_networks_are_not_counted_without_a_limit(limit: ThreadLimit, tmp_path: Path) -> None:
    with Recognizer.open(tiny_bundle(tmp_path / "a.fer"), "onnxruntime", threads=4) as recognizer:
        assert recognizer.runner.threads == 4
        recognizer.recognize(FRAME)
    assert limit.get() is None and not limit._running
