"""A recognizer in threads, signal handlers and other processes, and at the end of its own."""

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
SECONDS = 20  # that a thread or process is waited for


class Scripted(Runner):
    """A runner that calls a function in the middle of each inference."""

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
    """A call that is under way in another thread until it is let go."""

    def __init__(self, max_batch: int = 4) -> None:
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.runner = Scripted(self._wait, max_batch)
        self.recognizer = Recognizer(self.runner, LABELS)

    def _wait(self) -> None:
        self.entered.set()
        assert self.go_on.wait(SECONDS)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_thread_gets_the_answers_for_its_own_faces(tmp_path: Path, engine: str) -> None:
    frames = [np.roll(FRAME // divisor, divisor, axis=2) for divisor in (1, 2, 3, 4)]
    with Recognizer.open(tiny_bundle(tmp_path / "a.fer"), engine, threads=1) as recognizer:
        expected = [recognizer.recognize(frame).scores for frame in frames]

        def work(index: int) -> int:
            wrong = 0
            for call in range(50):
                if call % 2:
                    answers = [recognizer.recognize(frames[index])]
                else:
                    answers = recognizer.recognize_faces(frames[index], [None] * (1 + call % 3))
                wrong += sum(answer.scores != pytest.approx(expected[index], abs=1e-5) for answer in answers)
            return wrong

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(work, range(4))) == [0, 0, 0, 0]


def test_tasks_of_asyncio_share_a_recognizer(tmp_path: Path) -> None:
    with Recognizer.open(tiny_bundle(tmp_path / "a.fer"), threads=1) as recognizer:
        expected = recognizer.recognize(FRAME)

        async def gathered() -> list[Expression]:
            return await asyncio.gather(*(asyncio.to_thread(recognizer.recognize, FRAME) for _ in range(20)))

        with ThreadPoolExecutor(1) as pool:  # a thread of its own: the browser's tests leave a loop in this one
            assert pool.submit(asyncio.run, gathered()).result() == [expected] * 20


@pytest.mark.parametrize("engine", ENGINES)
def test_recognizers_that_are_opened_at_once_do_not_wait_for_each_other(tmp_path: Path, engine: str) -> None:
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
    assert outcome(script, tiny_bundle(tmp_path / "a.fer"), engine) == (0, "[3, 3, 3, 3]\n", "")


def test_closing_waits_for_the_call_of_another_thread() -> None:
    busy = Busy(max_batch=1)
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(busy.recognizer.recognize_faces, FRAME, [None] * 3)
        assert busy.entered.wait(SECONDS)
        closing = pool.submit(busy.recognizer.close)
        with pytest.raises(TimeoutError):
            closing.result(0.05)
        assert busy.runner.released == 0
        busy.go_on.set()
        closing.result(SECONDS)
        assert [answer.label for answer in call.result(SECONDS)] == ["happiness"] * 3
    assert busy.runner.released == 1
    for use in (busy.recognizer.recognize, lambda frame: busy.recognizer.preprocess(frame, [None])):
        with pytest.raises(EngineError, match="the recognizer is closed; open the bundle again"):
            use(FRAME)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_recognizer_that_is_closed_under_load_answers_or_says_so(tmp_path: Path, engine: str) -> None:
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


def test_a_signal_handler_closes_the_recognizer_when_the_call_has_ended() -> None:
    seen: list[int] = []

    def handle_signal() -> None:
        recognizer.close()
        seen.append(runner.released)

    runner = Scripted(handle_signal)
    recognizer = Recognizer(runner, LABELS)
    assert recognizer.recognize(FRAME).label == "happiness"
    assert (seen, runner.released) == ([0], 1)
    with pytest.raises(EngineError, match="the recognizer is closed"):
        recognizer.recognize(FRAME)
    recognizer.close()
    assert runner.released == 1


def test_a_call_of_several_batches_ends_at_the_batch_in_which_it_was_closed() -> None:
    runner = Scripted(lambda: recognizer.close(), max_batch=1)
    recognizer = Recognizer(runner, LABELS)
    with pytest.raises(EngineError, match="the recognizer is closed; open the bundle again"):
        recognizer.recognize_faces(FRAME, [None] * 3)
    assert runner.released == 1


def test_a_call_in_the_middle_of_a_call_of_the_same_thread_is_refused() -> None:
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

    runner = Scripted(call_again)
    recognizer = Recognizer(runner, LABELS)
    assert recognizer.recognize(FRAME).label == "happiness"
    assert len(errors) == 3
    assert all("in the middle of another call of the same thread, as from a signal handler" in text for text in errors)


def test_an_interrupted_call_leaves_the_recognizer_usable() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    runner = Scripted(interrupt)
    recognizer = Recognizer(runner, LABELS)
    with pytest.raises(KeyboardInterrupt):
        recognizer.recognize(FRAME)
    runner.during = lambda: None
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(recognizer.recognize, FRAME).result(SECONDS).label == "happiness"


def test_recognizers_and_runners_say_why_they_are_not_pickled_or_copied(tmp_path: Path) -> None:
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


def label_in_child(path: Path) -> str:
    with Recognizer.open(path, threads=1) as recognizer:
        return recognizer.recognize(FRAME).label


def test_a_spawned_process_opens_a_recognizer_of_its_own(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(label_in_child, (path,)) == label_in_child(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # multi-threaded, from Python 3.12 on
def test_a_process_forked_in_the_middle_of_a_call_is_told_and_does_not_hang() -> None:
    script = """
import os, signal, sys
from concurrent.futures import ThreadPoolExecutor
from fer_edge.errors import EngineError
from tests.test_shared_recognizer import FRAME, Busy

busy, idle = Busy(), Busy()
idle.go_on.set()
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
busy.go_on.set()
print(call.result().label)
"""
    code, printed, _ = outcome(script)
    assert (code, printed.splitlines()) == (
        0,
        [
            "another thread was in a call when this process was forked; open the bundle again in this process",
            "happiness",
            "happiness",
        ],
    )


def outcome(script: str, *arguments: object) -> tuple[int, str, str]:
    """Exit status, standard output and errors of a Python process."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return found.returncode, found.stdout, found.stderr


AT_EXIT = """
import atexit, sys, threading, time
import numpy as np

held = []
atexit.register(lambda: [held[0].recognize(frame).label, held[0].close()] if held else None)
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
    held.append(shared)
work = open_again if sys.argv[2] == "opening" else infer
for _ in range(3):
    threading.Thread(target=work, args=(shared,), daemon=True).start()
started.wait()
time.sleep(0.05)
"""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["inferring", "opening", "closed in a hook"])
def test_daemon_threads_do_not_abort_the_process_at_its_end(engine: str, kind: str) -> None:
    assert outcome(AT_EXIT, engine, kind) == (0, "", "")


def test_all_errors_of_calls_are_of_this_package() -> None:
    assert issubclass(CopyError, FerEdgeError) and issubclass(CopyError, TypeError)
