"""Outputs into files: content, ends, interrupts and full disks."""

from __future__ import annotations

import csv
import errno
import json
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from fer_edge.errors import ConfigError, FerEdgeError
from fer_edge.live import Output
from fer_edge.live.outputs import files, make_output
from fer_edge.rows import columns
from tests.live.outputs.updates import LABELS, framed, person, update
from tests.result_document import check_document

SUFFIXES = (".jsonl", ".csv", ".parquet", ".mcap")


def opened(path: Path, notes: list[str] | None = None) -> Output:
    output = make_output(str(path), LABELS, (lambda note: None) if notes is None else notes.append)
    output.open("a camera")
    return output


def send_frames(output: Output, count: int) -> None:
    for number in range(count):
        output.send(framed(number, person(1, "happiness"), person(2, "fear", 0.4)))


def read_rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
        return rows
    with path.open(newline="") as file:
        return [*csv.DictReader(file)]


def test_lines_are_documents(tmp_path: Path) -> None:
    output = opened(tmp_path / "out.jsonl")
    send_frames(output, 3)
    output.send(update())  # of a source that has broken off
    assert not (tmp_path / "out.jsonl").exists()
    output.close()
    documents = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for document in documents:
        check_document(document)
    assert [document["frame"] for document in documents] == [0, 1, 2, None]
    assert [person["id"] for person in documents[0]["people"]] == [1, 2]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_rows_are_those_of_an_analysis(suffix: str, tmp_path: Path) -> None:
    output = opened(tmp_path / f"out{suffix}")
    send_frames(output, 3)
    output.send(framed(3))
    output.close()
    rows = read_rows(tmp_path / f"out{suffix}")
    assert [*rows[0]] == columns(LABELS)
    assert [(float(row["time"]), int(row["person"]), row["label"]) for row in rows] == [
        (number / 10, *who) for number in range(3) for who in ((1, "happiness"), (2, "fear"))
    ]
    assert [str(row["certain"]) for row in rows[:2]] == ["True", "False"]
    assert float(rows[0]["p_happiness"]) == pytest.approx(0.9) and float(rows[0]["valence"]) > 0.5


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_existing_file_is_replaced_at_the_end_only(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_text("of an earlier run")
    output = opened(path)
    send_frames(output, 1)
    assert path.read_text() == "of an earlier run"
    output.close()
    output.close()
    assert b"of an earlier run" not in path.read_bytes() and [*tmp_path.iterdir()] == [path]
    assert not any(thread.name.startswith("output") for thread in threading.enumerate())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_output_without_a_result_changes_nothing(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{suffix}"
    make_output(str(path), LABELS, print).close()
    assert not [*tmp_path.iterdir()]
    path.write_text("of an earlier run")
    opened(path).close()
    assert path.read_text() == "of an earlier run" and [*tmp_path.iterdir()] == [path]


@contextmanager
def limited(size: int) -> Iterator[None]:
    """Limit the size of files, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_full_disk_keeps_the_lines_until_then(suffix: str, tmp_path: Path) -> None:
    notes: list[str] = []
    path = tmp_path / f"out{suffix}"
    with limited(30_000):
        output = opened(path, notes)
        send_frames(output, 400)
        with pytest.raises(
            FerEdgeError, match=f"out{suffix} is not complete: File too large; it has the results until"
        ):
            output.close()
    assert notes == [f"{path} cannot be written any more: File too large"]
    text = path.read_text()
    assert 20_000 < len(text) <= 30_000 and text.endswith("\n")
    if suffix == ".jsonl":
        assert [json.loads(line)["frame"] for line in text.splitlines()] == [*range(text.count("\n"))]
    else:
        assert {len(row) for row in csv.reader(text.splitlines())} == {len(columns(LABELS))}


@pytest.mark.parametrize(("suffix", "size"), [(".parquet", 2000), (".mcap", 12_000)])
def test_full_disk_leaves_no_damaged_file(suffix: str, size: int, tmp_path: Path) -> None:
    with limited(size):
        output = opened(tmp_path / f"out{suffix}")
        send_frames(output, 100)
        with pytest.raises(FerEdgeError, match=f"cannot write .*out{suffix}: .*; nothing was changed"):
            output.close()
    assert not [*tmp_path.iterdir()]


def test_slow_disk_leaves_results_out_and_reports_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_WAITING", 2)
    notes, ready = list[str](), threading.Event()

    @contextmanager
    def slow(path: Path) -> Iterator[files.WriteDocument]:
        yield lambda document: ready.wait(10)

    output = files.FileOutput(tmp_path / "out.jsonl", slow, notes.append)
    output.open("a camera")
    send_frames(output, 10)
    ready.set()
    output.close()
    assert notes[0].endswith("out.jsonl: the disk is too slow; results are left out")
    assert notes[1].split(": ")[1].split()[0] in {"7", "8"} and len(notes) == 2


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_file_that_cannot_be_written_is_refused_at_once(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FerEdgeError, match=f"cannot write .*out{suffix}: .*file is not a folder"):
        opened(tmp_path / "file" / f"out{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(ConfigError, match=f"folder{suffix} is a folder; expected the name of a file to write"):
        opened(tmp_path / f"folder{suffix}")


def test_file_of_lines_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    @contextmanager
    def fail(path: Path) -> Iterator[Callable[[Any], object]]:
        raise OSError(errno.EIO, "Input/output error")
        yield print

    output = files.FileOutput(tmp_path / "out.csv", fail, print, has_lines=True)
    with pytest.raises(FerEdgeError, match=r"cannot write .*out\.csv: Input/output error"):
        output.open("a camera")
    output.close()
    assert not list(tmp_path.iterdir())
