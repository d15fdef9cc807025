"""Conversion of data to types in several threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from fer_edge import _typed

SCRIPT = """
import sys, threading
from dataclasses import field, make_dataclass
from typing import Annotated
from msgspec import Meta
from fer_edge import _typed

sys.setswitchinterval(1e-6)
for round in range(100):
    fields = [(f"f{index}", Annotated[int, Meta(ge=0)], field(default=1)) for index in range(20)]
    kind = make_dataclass("Inner", fields)
    barrier, results = threading.Barrier(4), []

    def work():
        barrier.wait()
        results.append(CALL)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [kind()] * 4, results
print("done")
"""


@pytest.mark.parametrize("call", ["_typed.convert({'f1': 1}, kind)", "_typed.decode_json(b'{}', kind)"])
def test_threads_that_first_convert_to_a_class_at_once_get_the_same_values(call: str) -> None:
    """Without the lock, msgspec crashes the process in most of the runs."""
    run = subprocess.run([sys.executable, "-c", SCRIPT.replace("CALL", call)], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "done\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_forked_during_a_conversion_can_convert() -> None:
    entered, resume = threading.Event(), threading.Event()

    def hold() -> None:
        with _typed._lock:
            entered.set()
            resume.wait(0.2)

    thread = threading.Thread(target=hold)
    thread.start()
    assert entered.wait(10)
    child = os.fork()  # waits for the other thread
    if child == 0:
        os._exit(_typed.convert(7, int))
    resume.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
