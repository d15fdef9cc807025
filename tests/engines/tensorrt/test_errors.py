"""TensorRT callbacks, called from several threads."""

from __future__ import annotations

import sys
import threading

from fer_edge.engines.tensorrt.errors import MAX_ERRORS, ErrorLog, Messages, logger_for
from tests.bindings_double import api_double
from tests.cuda_double import Gpu


def test_error_log_is_read_while_other_threads_write() -> None:
    log, failures, finished = ErrorLog(), [], threading.Event()

    def write() -> None:
        while not finished.is_set():
            log.add("ERROR", "again")

    def read() -> None:
        try:
            for _ in range(300):
                assert len(log.since(0)) <= MAX_ERRORS
        except BaseException as error:
            failures.append(error)
        finished.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for work in (write, write, read)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failures, failures


def test_own_errors_of_a_thread_take_precedence() -> None:
    log = ErrorLog()
    messages = Messages(log)
    thread = threading.Thread(target=log.add, args=("ERROR", "other thread"))
    thread.start()
    thread.join()
    assert messages.reason() == "other thread"
    log.add("ERROR", "this thread")
    assert messages.reason() == "this thread"
    messages.clear()
    assert messages.reason() == "no reason given"


def test_process_has_one_logger() -> None:
    api, loggers = api_double(Gpu()), []
    threads = [threading.Thread(target=lambda: loggers.append(logger_for(api.trt)[0])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(logger) for logger in loggers}) == 1
