"""What TensorRT says is heard, from any thread."""

from __future__ import annotations

import sys
import threading

from fer_edge.engines.tensorrt.callbacks import KEPT, Heard, Messages, logger_for
from tests.bindings_double import api_double
from tests.cuda_double import Gpu


def test_threads_may_complain_while_another_listens() -> None:
    heard, failures, over = Heard(), [], threading.Event()

    def complain() -> None:
        while not over.is_set():
            heard.add("ERROR", "again")

    def listen() -> None:
        try:
            for _ in range(300):
                assert len(heard.since(0)) <= KEPT
        except BaseException as error:
            failures.append(error)
        over.set()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for work in (complain, complain, listen)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not failures, failures


def test_a_thread_is_told_of_its_own_errors_first() -> None:
    heard = Heard()
    messages = Messages(heard)
    thread = threading.Thread(target=heard.add, args=("ERROR", "another's"))
    thread.start()
    thread.join()
    assert messages.reason() == "another's"
    heard.add("ERROR", "mine")
    assert messages.reason() == "mine"
    messages.clear()
    assert messages.reason() == "no reason given"


def test_a_process_has_one_logger() -> None:
    api, found = api_double(Gpu()), []
    threads = [threading.Thread(target=lambda: found.append(logger_for(api.trt)[0])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(logger) for logger in found}) == 1
