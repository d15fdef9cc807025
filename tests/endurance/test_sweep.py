"""Sweep of faults: the library hits the calls that are counted, and a violated property is found."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.endurance.faults import FULL_DISK, HALF, SHORT, Calls, Fault, build_library, compiler, read_counts
from tests.endurance.socket_scenarios import SOCKET_SCENARIOS
from tests.endurance.sweep import run_sweep

Run = Callable[[str, Fault, int], str]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if compiler() is None:
        pytest.skip("needs Linux and a C compiler")
    build_library(folder := tmp_path_factory.mktemp("faults"))
    return folder / "faults.so"


@pytest.fixture
def run(library: Path, tmp_path: Path) -> Run:
    """Return a function that runs Python code in a process with a fault, and returns its output."""

    def run_code(code: str, fault: Fault, number: int) -> str:
        (tmp_path / "work").mkdir(exist_ok=True)
        setting = fault.setting(tmp_path / "work", number, tmp_path / "counts")
        environment = {**os.environ, "LD_PRELOAD": str(library), "FER_EDGE_FAULTS": setting}
        command = [sys.executable, "-S", "-c", code, str(tmp_path / "work" / "file")]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.strip()

    return run_code


WRITE = """
import os, sys
file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
for _ in range(3):
    try:
        print(os.write(file, bytes(100)), end=" ")
    except OSError as error:
        print(error.errno, end=" ")
"""


def test_the_counted_call_fails_once(run: Run, tmp_path: Path) -> None:
    assert run(WRITE, Fault("EIO", Calls.WRITE, errno.EIO), 2) == f"100 {errno.EIO} 100"
    counts = read_counts(tmp_path / "counts")
    assert (counts.calls, counts.faults, counts.first) == (3, 1, f"write {tmp_path}/work/file")


def test_a_full_disk_stays_full(run: Run) -> None:
    assert run(WRITE, FULL_DISK, 3) == f"100 {errno.ENOSPC} {errno.ENOSPC}"  # the first call creates the file


def test_half_of_the_bytes_is_written(run: Run, tmp_path: Path) -> None:
    assert run(WRITE, HALF, 1) == "50 100 100"
    assert (tmp_path / "work" / "file").stat().st_size == 250


def test_files_elsewhere_have_no_faults(run: Run, tmp_path: Path) -> None:
    code = WRITE.replace("sys.argv[1]", repr(str(tmp_path / "other")))
    assert run(code, FULL_DISK, 1) == "100 100 100"
    assert read_counts(tmp_path / "counts").calls == 0


def test_write_to_a_socket_sends(run: Run) -> None:
    code = """
import os, socket
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
print(os.write(client.fileno(), bytes(100)), client.send(bytes(100)))
"""
    assert run(code, Fault("half", Calls.SEND, 0, SHORT), 1) == "50 100"


def test_connections_are_reset_and_pairs_of_sockets_are_not(run: Run) -> None:
    code = """
import socket
for pair in (socket.socketpair(), (socket.socket(), None)):
    try:
        print(pair[0].send(b"x") if pair[1] else pair[0].connect(("127.0.0.1", 9)), end=" ")
    except OSError as error:
        print(error.errno, end=" ")
"""
    calls = Calls.SEND | Calls.CONNECT
    assert run(code, Fault("reset", calls, errno.ECONNRESET), 1) == f"1 {errno.ECONNRESET}"


@pytest.mark.slow  # a process that imports PyTorch, and runs 400 times
def test_all_properties_hold_after_a_fault() -> None:
    if compiler() is None:
        pytest.skip("needs Linux and a C compiler")
    names = [
        "write bundle",
        "add engine",
        "copy checkpoint",
        "open bundle",
        "sign bundle",
        "save training",
        "write report",
    ]
    finished = run_sweep(names, 1, capture_output=True)
    lines = [json.loads(line) for line in finished.stdout.splitlines()]
    assert [line for line in lines if "problem" in line] == [] and finished.returncode == 0, finished.stderr
    assert [line["scenario"] for line in lines] == names
    for line in lines:
        assert line["runs"] >= 30 and {"EIO", "EACCES", "half of the bytes"} <= line["faults"].keys()


@pytest.mark.slow  # a process that imports PyTorch, and runs 50 times
def test_all_properties_hold_after_a_fault_of_a_socket() -> None:
    if compiler() is None:
        pytest.skip("needs Linux and a C compiler")
    names = [scenario.name for scenario in SOCKET_SCENARIOS]
    finished = run_sweep(names, 1, capture_output=True)
    lines = [json.loads(line) for line in finished.stdout.splitlines()]
    assert [line for line in lines if "problem" in line] == [] and finished.returncode == 0, finished.stderr
    assert [line["scenario"] for line in lines] == names
    for line in lines:
        assert {"ECONNRESET", "ETIMEDOUT", "half of the bytes"} == line["faults"].keys()
        assert min(line["faults"].values()) >= 3
