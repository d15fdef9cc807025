"""A recognizer in threads, signal handlers and other processes, and at process exit."""

from __future__ import annotations

import asyncio
import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge import Bundle, Expression, Recognizer
from fer_edge.engines.base import Images, Prediction, Runner
from fer_edge.errors import CopyError, EngineError, FerEdgeError
from tests.tiny import LABELS, tiny_bundle

ENGINES = ["openvino", "onnxruntime"]
FRAME = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
SECONDS = 20  # timeout for threads and processes


class CallingRunner(Runner):
    """Runner that calls a function during each inference."""

    def __init__(self, during: Callable[[], Any], max_batch: int = 4) -> None:
        super().__init__(max_batch)
        self.during, self.released = during, 0

    def _infer(self, images: Images) -> Prediction:
        self.during()
        row = np.tile(np.array([0.2, 0.7, 0.1], np.float32), (len(images), 1))
        return Prediction(row, None, row)

    def _close(self) -> None:
        self.released += 1


class Busy:
    """A recognizer whose calls block until an event is set."""

    def __init__(self, max_batch: int = 4) -> None:
        self.entered, self.resume = threading.Event(), threading.Event()
        self.runner = CallingRunner(self._wait, max_batch)
        self.recognizer = Recognizer(self.runner, LABELS)

    def _wait(self) -> None:
        self.entered.set()
        assert self.resume.wait(SECONDS)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_thread_gets_the_results_of_its_own_faces(tmp_path: Path, engine: str) -> None:
    frames = [np.roll(FRAME // divisor, divisor, axis=2) for divisor in (1, 2, 3, 4)]
    with Recognizer.open(tiny_bundle(tmp_path / "a.fer"), engine, threads=1) as recognizer:
        expected = [recognizer.recognize(frame).scores for frame in frames]

        def work(index: int) -> int:
            wrong = 0
            for call in range(50):
                if call % 2:
                    results = [recognizer.recognize(frames[index])]
                else:
                    results = recognizer.recognize_faces(frames[index], [None] * (1 + call % 3))
                wrong += sum(result.scores != pytest.approx(expected[index], abs=1e-5) for result in results)
            return wrong

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(work, range(4))) == [0, 0, 0, 0]


def test_asyncio_tasks_share_a_recognizer(tmp_path: Path) -> None:
    with Recognizer.open(tiny_bundle(tmp_path / "a.fer"), threads=1) as recognizer:
        expected = recognizer.recognize(FRAME)

        async def recognize_all() -> list[Expression]:
            return await asyncio.gather(*(asyncio.to_thread(recognizer.recognize, FRAME) for _ in range(20)))

        with ThreadPoolExecutor(1) as pool:  # in a new thread: the browser tests leave an event loop in this one
            assert pool.submit(asyncio.run, recognize_all()).result() == [expected] * 20


@pytest.mark.parametrize("engine", ENGINES)
def test_opening_in_several_threads_does_not_deadlock(tmp_path: Path, engine: str) -> None:
    script = """
import sys, threading
from fer_edge import Recognizer
barrier, labels = threading.Barrier(4), []

def work():
    barrier.wait()
    labels.append(len(Recognizer.open(sys.argv[1], sys.argv[2], threads=1).labels))

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(labels)
"""
    assert run_script(script, tiny_bundle(tmp_path / "a.fer"), engine) == (0, "[3, 3, 3, 3]\n", "")


def test_close_waits_for_the_call_of_another_thread() -> None:
    busy = Busy(max_batch=1)
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(busy.recognizer.recognize_faces, FRAME, [None] * 3)
        assert busy.entered.wait(SECONDS)
        closing = pool.submit(busy.recognizer.close)
        with pytest.raises(TimeoutError):
            closing.result(0.05)
        assert busy.runner.released == 0
        busy.resume.set()
        closing.result(SECONDS)
        assert [expression.label for expression in call.result(SECONDS)] == ["happiness"] * 3
    assert busy.runner.released == 1
    for use in (busy.recognizer.recognize, lambda frame: busy.recognizer.preprocess(frame, [None])):
        with pytest.raises(EngineError, match="the recognizer is closed; open the bundle again"):
            use(FRAME)


@pytest.mark.parametrize("engine", ENGINES)
def test_closing_under_load_ends_calls_with_an_error(tmp_path: Path, engine: str) -> None:
    recognizer = Recognizer.open(tiny_bundle(tmp_path / "a.fer"), engine, threads=1)
    started, errors = threading.Event(), []

    def work() -> None:
        try:
            while True:
                assert len(recognizer.recognize_faces(FRAME, [(10, 10, 60, 80)] * 20)) == 20
                started.set()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert started.wait(SECONDS)
    recognizer.close()
    for thread in threads:
        thread.join(SECONDS)
    assert [(type(error), str(error)) for error in errors] == [
        (EngineError, "the recognizer is closed; open the bundle again")
    ] * 2


def test_close_in_a_signal_handler_takes_effect_after_the_call() -> None:
    released_in_handler: list[int] = []

    def handle_signal() -> None:
        recognizer.close()
        released_in_handler.append(runner.released)

    runner = CallingRunner(handle_signal)
    recognizer = Recognizer(runner, LABELS)
    assert recognizer.recognize(FRAME).label == "happiness"
    assert (released_in_handler, runner.released) == ([0], 1)
    with pytest.raises(EngineError, match="the recognizer is closed"):
        recognizer.recognize(FRAME)
    recognizer.close()
    assert runner.released == 1


def test_call_of_several_batches_ends_after_close() -> None:
    runner = CallingRunner(lambda: recognizer.close(), max_batch=1)
    recognizer = Recognizer(runner, LABELS)
    with pytest.raises(EngineError, match="the recognizer is closed; open the bundle again"):
        recognizer.recognize_faces(FRAME, [None] * 3)
    assert runner.released == 1


def test_nested_call_of_the_same_thread_is_refused() -> None:
    errors: list[str] = []

    def call_again() -> None:
        uses: list[Callable[[], object]] = [
            lambda: recognizer.recognize(FRAME),
            lambda: recognizer.preprocess(FRAME, [None]),
            lambda: runner.infer(np.zeros((1, 112, 112, 3), np.uint8)),
        ]
        for use in uses:
            try:
                use()
            except EngineError as error:
                errors.append(str(error))

    runner = CallingRunner(call_again)
    recognizer = Recognizer(runner, LABELS)
    assert recognizer.recognize(FRAME).label == "happiness"
    assert len(errors) == 3
    assert all("called during another call of the same thread" in text for text in errors)


def test_recognizer_is_usable_after_an_interrupted_call() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    runner = CallingRunner(interrupt)
    recognizer = Recognizer(runner, LABELS)
    with pytest.raises(KeyboardInterrupt):
        recognizer.recognize(FRAME)
    runner.during = lambda: None
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(recognizer.recognize, FRAME).result(SECONDS).label == "happiness"


def test_recognizers_and_runners_refuse_pickling_and_copying(tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle(tmp_path / "a.fer"))
    with Recognizer.open(bundle.path, threads=1) as recognizer:
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(
                CopyError, match=r"cannot be pickled or copied; open it in each process: Recognizer\.op"
            ):
                attempt(recognizer)
            with pytest.raises(TypeError, match="a runner holds an engine of this process and cannot be pickled or"):
                attempt(recognizer.runner)
    assert pickle.loads(pickle.dumps(bundle)) == copy.deepcopy(bundle) == bundle


def recognize_label(path: Path) -> str:
    with Recognizer.open(path, threads=1) as recognizer:
        return recognizer.recognize(FRAME).label


def test_spawned_process_opens_its_own_recognizer(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(recognize_label, (path,)) == recognize_label(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # multi-threaded, from Python 3.12 on
def test_process_forked_during_a_call_does_not_hang() -> None:
    script = """
import os, signal, sys
from concurrent.futures import ThreadPoolExecutor
from fer_edge.errors import EngineError
from tests.test_shared_recognizer import FRAME, Busy

busy, idle = Busy(), Busy()
idle.resume.set()
pool = ThreadPoolExecutor(1)
call = pool.submit(busy.recognizer.recognize, FRAME)
busy.entered.wait()
child = os.fork()
if not child:
    signal.alarm(20)
    try:
        busy.recognizer.recognize(FRAME)
    except EngineError as error:
        print(error, flush=True)
    busy.recognizer.close()
    print(idle.recognizer.recognize(FRAME).label, flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
busy.resume.set()
print(call.result().label)
"""
    code, stdout, _ = run_script(script)
    assert (code, stdout.splitlines()) == (
        0,
        [
            "another thread was in a call when this process was forked; open the bundle again in this process",
            "happiness",
            "happiness",
        ],
    )


def run_script(script: str, *arguments: object) -> tuple[int, str, str]:
    """Run a Python script in a new process; return its exit status, standard output and standard error."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return process.returncode, process.stdout, process.stderr


AT_EXIT = """
import atexit, sys, threading, time
import numpy as np

used_at_exit = []
atexit.register(lambda: [used_at_exit[0].recognize(frame).label, used_at_exit[0].close()] if used_at_exit else None)
from fer_edge import Recognizer

frame = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
started = threading.Event()

def infer(recognizer):
    while True:
        recognizer.recognize_faces(frame, [(10, 10, 200, 200)] * 8)
        started.set()

def open_again(recognizer):
    while True:
        with Recognizer.open(None, sys.argv[1], threads=1) as other:
            started.set()
            other.recognize(frame)

shared = Recognizer.open(None, sys.argv[1])
if sys.argv[2] == "closed in a hook":
    used_at_exit.append(shared)
work = open_again if sys.argv[2] == "opening" else infer
for _ in range(3):
    threading.Thread(target=work, args=(shared,), daemon=True).start()
started.wait()
time.sleep(0.05)
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["inferring", "opening", "closed in a hook"])
def test_daemon_threads_do_not_abort_the_exiting_process(engine: str, kind: str) -> None:
    assert run_script(AT_EXIT, engine, kind) == (0, "", "")


def test_copy_error_is_a_type_error_of_fer_edge() -> None:
    assert issubclass(CopyError, FerEdgeError) and issubclass(CopyError, TypeError)
