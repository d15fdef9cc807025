"""TensorBoard log: contents, and write errors that do not stop the run."""

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


def write_log(folder: Path) -> None:
    board = TensorBoard(folder)
    for done in range(1, 4):
        board.on_batch(0, done, 3, 1 / done)
    board.on_epoch(RESULT)
    board.close()


def test_a_log_contains_steps_and_epochs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write_log(tmp_path / "log")
    events = EventAccumulator(str(tmp_path / "log")).Reload()
    steps = [(event.step, event.value) for event in events.Scalars("loss/of the epoch so far")]
    assert steps == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert events.Scalars("accuracy/both heads")[0].value == 60.0 and "accuracy/text head" not in events.scalars.Keys()
    assert not caplog.messages


def test_a_full_disk_ends_the_log_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(FileIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(callbacks, "FileIO", Full)
    write_log(tmp_path)
    assert caplog.messages == ["the TensorBoard log stopped: No space left on device; training continues"]


def test_a_log_that_cannot_be_created_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "log").write_text("a file")
    write_log(tmp_path / "log")
    assert caplog.messages == ["the TensorBoard log stopped: File exists; training continues"]


def test_a_missing_tensorboard_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    write_log(tmp_path)
    assert len(caplog.messages) == 1 and caplog.messages[0].startswith(
        "the TensorBoard log stopped: import of tensorboard"
    )
