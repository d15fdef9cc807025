"""Files of a run: consistent pairs, full disks, one process per folder."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fer_edge._lock import lock_folder
from fer_edge.errors import CheckpointError, FerEdgeError
from fer_edge.model.checkpoint import Checkpoint, load_checkpoint
from fer_edge.training import files
from fer_edge.training.files import RunFiles, differences
from tests.synthetic import make_ferplus
from tests.tiny_model import tiny_checkpoint
from tests.training.test_loop import CONFIG, Quiet, make_run

STATE = {"configuration": "{}", "weights": torch.arange(1000.0)}


def checkpoint(seed: int) -> Checkpoint:
    return tiny_checkpoint(seed, depth=1)


def full_after(monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    """Make writes fail once a resume point has more bytes than `written`."""
    count = 0
    write = files._ErrorRecorder.write

    def limit(self: Any, data: bytes) -> int:
        nonlocal count
        count += len(data)
        if count > written:
            self._file = FullDisk()
        return write(self, data)

    monkeypatch.setattr(files._ErrorRecorder, "write", limit)


class FullDisk:
    def write(self, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("written", [0, 1000, 4100])
def test_a_full_disk_keeps_the_former_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    run = RunFiles(tmp_path)
    run.save(STATE, checkpoint(0))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    full_after(monkeypatch, written)
    with pytest.raises(FerEdgeError, match=r"cannot write .*last\.pt: No space left on device; nothing was changed$"):
        run.save(STATE, checkpoint(1))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    again = RunFiles(tmp_path)
    again.check_pair(again.load())


def test_the_first_checkpoint_is_kept_without_resume_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full_after(monkeypatch, 0)
    with pytest.raises(FerEdgeError, match="No space left on device"):
        RunFiles(tmp_path).save(STATE, checkpoint(0))
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]
    load_checkpoint(tmp_path / "best.safetensors")


def test_a_full_disk_names_the_remaining_resume_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = make_ferplus(tmp_path / "faces")
    run = make_run(faces, tmp_path / "run", replace(CONFIG, epochs=1))
    run.run(Quiet())
    longer = make_run(faces, tmp_path / "run2", CONFIG)
    size = run.files.last.stat().st_size
    full_after(monkeypatch, size + size // 2)  # in the second epoch
    message = (
        r"run2/last\.pt: No space .* has the state of epoch 1 at step 6 of 6: free space, and run the same command"
    )
    with pytest.raises(FerEdgeError, match=message):
        longer.run(Quiet())
    monkeypatch.undo()
    again = make_run(faces, tmp_path / "run2", CONFIG)
    assert again.resume() and again.next_epoch == 1


def test_a_missing_or_different_checkpoint_is_refused(tmp_path: Path) -> None:
    run = RunFiles(tmp_path)
    run.save(STATE, checkpoint(0))
    good = run.best.read_bytes()
    checkpoint(1).save(run.best)
    with pytest.raises(CheckpointError, match=r"best\.safetensors is not the file that was saved with .*last\.pt"):
        run.check_pair(run.load())
    run.best.unlink()
    with pytest.raises(CheckpointError, match=r"is missing, which was saved with .*; restore it, or remove .*\.pt"):
        run.check_pair(run.load())
    run.best.write_bytes(good)
    run.check_pair(run.load())


def test_a_process_killed_between_the_files_leaves_a_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFiles(tmp_path)
    run.save(STATE, checkpoint(0))
    with monkeypatch.context() as killed:
        killed.setattr(RunFiles, "_promote", lambda self: None)
        run.save(STATE, checkpoint(1))
    expected = (tmp_path / ".best.next.safetensors").read_bytes()
    again = RunFiles(tmp_path)
    again.check_pair(again.load())
    assert again.best.read_bytes() == expected and not (tmp_path / ".best.next.safetensors").exists()


def test_differences_list_settings_before_hashes() -> None:
    here = {"training": {"epochs": 3, "augmentation": {"flip": 0.5}}, "model": {"depth": 1}, "data": "a", "text": [1]}
    there = {"training": {"epochs": 2, "augmentation": {"flip": 0.0}}, "model": {"depth": 1}, "data": "b", "text": [1]}
    assert (
        differences(here, there)
        == "epochs is 3 here and 2 in last.pt, augmentation.flip is 0.5 here and 0.0 in last.pt"
    )
    assert differences({**there, "data": "a"}, there) == "the images or their labels differ"
    assert differences({"model": {"depth": 1}}, {}) == "model.depth is 1 here and not set in last.pt"
    many = {"training": {f"s{number}": number for number in range(8)}}
    assert differences(many, {}).endswith("s4 is 4 here and not set in last.pt and 3 more")


def test_a_folder_is_locked_by_one_process(tmp_path: Path) -> None:
    with (
        lock_folder(tmp_path),
        pytest.raises(
            FerEdgeError, match=rf"{tmp_path} is in use by process {os.getpid()} on .*; wait for it, or name"
        ),
        lock_folder(tmp_path),
    ):
        pass
    with lock_folder(tmp_path):
        pass


def test_a_killed_process_releases_its_lock(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from fer_edge._lock import lock_folder\n"
        "with lock_folder(Path(sys.argv[1])): print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "locked\n"
        with pytest.raises(FerEdgeError, match=f"in use by process {process.pid} on "), lock_folder(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    with lock_folder(tmp_path):
        pass


def test_only_temporary_files_are_removed(tmp_path: Path) -> None:
    names = [".last.pt.0123abcd", ".best.safetensors.89abcdef", "last.pt", ".last.pt.old", "notes.txt"]
    for name in names:
        (tmp_path / name).touch()
    RunFiles(tmp_path).remove_temporary()
    assert {path.name for path in tmp_path.iterdir()} == set(names[2:])
