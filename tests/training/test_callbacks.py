"""TensorBoard's log: readable, and no danger to the run."""

from __future__ import annotations

import errno
import sys
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from fer_edge.training import callbacks
from fer_edge.training.callbacks import TensorBoard
from fer_edge.training.results import EpochResult

RESULT = EpochResult(0, 1.5, 50.0, None, 60.0, 40.0, 1.0)


def log(folder: Path, notes: list[str]) -> None:
    board = TensorBoard(folder, notes.append)
    for done in range(1, 4):
        board.batch(0, done, 3, 1 / done)
    board.epoch(RESULT)
    board.close()


def test_a_log_holds_steps_and_epochs(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    notes: list[str] = []
    log(tmp_path / "log", notes)
    events = EventAccumulator(str(tmp_path / "log")).Reload()
    steps = [(event.step, event.value) for event in events.Scalars("loss/of the epoch so far")]
    assert steps == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert events.Scalars("accuracy/both heads")[0].value == 60.0 and "accuracy/text head" not in events.scalars.Keys()
    assert not notes


def test_a_full_disk_ends_the_log_with_one_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(FileIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(callbacks, "FileIO", Full)
    notes: list[str] = []
    log(tmp_path, notes)
    assert notes == ["the TensorBoard log stopped: No space left on device; the training goes on"]


def test_a_log_that_cannot_be_made_is_one_note(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file")
    notes: list[str] = []
    log(tmp_path / "log", notes)
    assert notes == ["the TensorBoard log stopped: File exists; the training goes on"]


def test_a_tensorboard_that_cannot_be_imported_is_one_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    notes: list[str] = []
    log(tmp_path, notes)
    assert len(notes) == 1 and notes[0].startswith("the TensorBoard log stopped: import of tensorboard")
