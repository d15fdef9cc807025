"""A short round of the endurance suite: its table, its JSON, and its failures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from tests.endurance import run
from tests.endurance.child import usage
from tests.endurance.faults import compiler
from tests.endurance.run import Part, main, tables


@pytest.mark.slow  # a process for some seconds
def test_short_run_writes_a_table_and_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if compiler() is None:
        pytest.skip("needs Linux and a C compiler")
    out, data = tmp_path / "endure.txt", tmp_path / "endure.json"
    arguments = ["--minutes", "0.25", "--round", "0.5", "--sample", "0.2", "--rate", "20000"]
    arguments += ["--part", "live onnxruntime", "--out", str(out), "--json", str(data)]
    assert main(arguments) == 0
    assert capsys.readouterr().out.strip() == out.read_text().strip()
    assert max(map(len, out.read_text().splitlines())) <= 80
    (part,) = json.loads(data.read_text())["parts"]
    assert part["frames"] > 0 and part["faults"] > 0 and part["starts"] == 1 and part["failures"] == {}
    assert {"s", "mb", "files", "threads"} == part["samples"][-1].keys()


class DeadPart(Part):
    """Part whose process ends at once."""

    def start(self) -> None:
        super().start()
        self._process.kill()
        self._process.wait()


@pytest.fixture
def options(tmp_path: Path) -> Namespace:
    return Namespace(bundle=tmp_path / "none.fer", seed=1, rate=0, round=1.0, library=None)


def test_process_that_dies_is_a_failure_and_starts_again(tmp_path: Path, options: Namespace) -> None:
    part = DeadPart("sweep", tmp_path, options)
    part.watch(1)
    part.watch(2)
    assert dict(part.failures()) == {"the process ended with exit status -9: no output": 2}
    assert part.record.starts == 3
    titles = [table.title for table in tables([part], 0.5)]
    assert titles == ["0.50 hours; files and threads: first, last", "failures"]


def test_part_without_a_frame_is_a_failure(tmp_path: Path, options: Namespace) -> None:
    part = DeadPart("sweep", tmp_path, options)
    part._process = subprocess.Popen([sys.executable, "-c", ""])
    part.join(60)
    assert dict(part.failures()) == {"no frame was processed; 0 calls were refused": 1}


def test_process_without_progress_is_killed(
    tmp_path: Path, options: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "STUCK_SECONDS", -1)
    monkeypatch.setattr(run, "TRACE_SECONDS", 0)
    part = Part("sweep", tmp_path, options)
    part.watch(1)
    assert list(part.failures()) == ["no progress; tracebacks of all threads are in the log"]
    part.stop()
    part.join(0)


def test_usage_is_that_of_the_process() -> None:
    memory, files, threads = usage(os.getpid())
    assert memory > 20 and files > 2 and threads >= 1
