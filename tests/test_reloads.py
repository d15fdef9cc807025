"""Reloads of a bundle whose file is replaced, and on SIGHUP."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import pytest

from fer_edge._reloads import Reloads
from fer_edge.errors import BundleError
from fer_edge.signing import signature_path


class Log:
    """Counter of reloads, whose next one may fail, and the notes about them."""

    def __init__(self, path: Path) -> None:
        self.count, self.notes = 0, list[str]()
        self.error: Exception | None = None
        self.reloads = Reloads(path, self.reload, self.notes.append)

    def reload(self) -> None:
        self.count += 1
        if self.error is not None:
            raise self.error

    def looks(self, number: int) -> int:
        """Look some times, and return the number of all reloads."""
        for _ in range(number):
            self.reloads._look()
        return self.count


def replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


def test_replaced_file_is_loaded_once(tmp_path: Path) -> None:
    path = tmp_path / "a.fer"
    path.write_bytes(b"1")
    log = Log(path)
    assert log.looks(3) == 0
    replace(path, b"2")  # of the same size
    assert log.looks(4) == 1
    signature_path(path).write_bytes(b"s")  # the signature counts too
    assert log.looks(4) == 2
    assert log.notes == ["loaded a.fer"] * 2


def test_file_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.fer"
    path.write_bytes(b"1")
    log = Log(path)
    for size in range(2, 6):
        path.write_bytes(bytes(size))
        assert log.looks(1) == 0
    path.unlink()
    assert log.looks(3) == 0
    path.write_bytes(b"new")
    assert log.looks(3) == 1


def test_refused_file_is_tried_once(tmp_path: Path) -> None:
    path = tmp_path / "a.fer"
    path.write_bytes(b"1")
    log = Log(path)
    for error, text in ((BundleError("damaged\nfile"), "damaged file"), (MemoryError("full"), "MemoryError: full")):
        log.error, log.count, log.notes[:] = error, 0, []
        replace(path, text.encode())
        assert log.looks(4) == 1
        assert log.notes == [f"a.fer is not loaded, the former model stays in use: {text}"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_hangup_reloads_and_its_handler_is_restored(tmp_path: Path) -> None:
    before, threads = signal.getsignal(signal.SIGHUP), set(threading.enumerate())
    log = Log(tmp_path / "a.fer")
    log.reloads._thread = threading.Thread(target=lambda: None)  # the test looks itself
    with log.reloads:
        signal.raise_signal(signal.SIGHUP)
        assert log.looks(3) == 1
    assert signal.getsignal(signal.SIGHUP) is before
    with Log(tmp_path / "a.fer").reloads:
        assert set(threading.enumerate()) != threads
    assert set(threading.enumerate()) == threads
