"""`fer-edge train` as its users meet it: killed, shared by two processes, logged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.faces import make_ferplus

TINY = [
    "--epochs", "3", "--batch", "8", "--seed", "3", "--learning-rate", "4e-3", "--threads", "1", "--json",
    "--set", "model.dim=12", "--set", "model.depth=1", "--set", "model.stem.input_width=8",
    "--set", "model.stem.widths=[8, 12]", "--set", "model.stem.units=[1, 1]", "--set", "model.text_dim=8",
]  # fmt: skip


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ferplus(tmp_path_factory.mktemp("ferplus"), train=96)


def command(faces: Path, out: Path, *more: str) -> list[str]:
    return ["fer_edge", "train", str(faces), "-o", str(out), *TINY, *more]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=False)


def results(finished: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert finished.returncode == 0, finished.stderr
    epochs: list[dict[str, Any]] = json.loads(finished.stdout)["epochs"]
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in epochs]


@pytest.mark.slow
def test_killed_in_mid_epoch_it_ends_as_an_uninterrupted_run(faces: Path, tmp_path: Path) -> None:
    every_step = ("--set", "save_minutes=0")
    whole = results(run(command(faces, tmp_path / "whole", *every_step)))
    killed = subprocess.Popen(
        [sys.executable, "-m", *command(faces, tmp_path / "cut", *every_step)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    last = tmp_path / "cut" / "last.pt"
    while killed.poll() is None:
        if last.is_file() and torch.load(last, weights_only=True)["next_epoch"] >= 1:
            break
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL, "the run was over before it could be killed"
    again = run(command(faces, tmp_path / "cut", *every_step))
    assert results(again) == whole
    assert "going on in epoch" in again.stderr
    ours, theirs = (load_file(tmp_path / name / "best.safetensors") for name in ("cut", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_two_processes_give_what_one_gives(faces: Path, tmp_path: Path) -> None:
    # Plain SGD, since Adam makes much of gradients that differ by rounding only.
    mixed = ("--mixup", "0.2", "--set", "optimizer=sgd", "--learning-rate", "0.02")
    alone = results(run(command(faces, tmp_path / "one", *mixed)))
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    both = results(run([*launch, *command(faces, tmp_path / "two", *mixed, "--devices", "2")]))
    assert len(both) == 3
    for one, two in zip(alone, both, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert two["accuracy"] == one["accuracy"]
    ours, theirs = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("two", "one"))
    for name, value in theirs["average"].items():
        torch.testing.assert_close(ours["average"][name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.slow
def test_runs_are_logged_for_tensorboard(faces: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = results(run(command(faces, tmp_path / "run", "--set", "epochs=2")))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("loss/epoch")] == pytest.approx([e["loss"] for e in found])
    assert len(events.Scalars("accuracy/both heads")) == 2


def test_dry_runs_and_damaged_images(faces: Path, tmp_path: Path) -> None:
    root = make_ferplus(tmp_path / "faces", train=32)
    (root / "FER2013Train" / "3.png").write_bytes(b"no image")
    stopped = run(command(root, tmp_path / "run", "--dry-run"))
    assert stopped.returncode == 1 and "3.png is not an image" in stopped.stderr
    skipped = run(command(root, tmp_path / "run", "--dry-run", "--skip-damaged"))
    assert skipped.returncode == 0, skipped.stderr
    assert "skipped: " in skipped.stderr and "31 images to learn from, 1 skipped" in skipped.stderr
    assert json.loads(skipped.stdout)["steps"] == 3
    assert not (tmp_path / "run").exists()
    wrong = run(command(faces, tmp_path / "run", "--set", "epoch=3"))
    twice = run(command(faces, tmp_path / "run", "--init", "x.safetensors"))
    assert twice.returncode == 2 and "--init brings its own model; leave out --preset and settings" in " ".join(
        twice.stderr.split()
    )
    assert wrong.returncode == 2 and "training settings not understood" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_a_folder_that_cannot_be_made_is_said_before_images_are_read(faces: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for out in (file, file / "run"):
        stopped = run(command(faces, out))
        assert stopped.returncode == 1 and "images to learn from" not in stopped.stderr
        assert stopped.stderr.startswith("error: cannot make the folder") and "name another one" in stopped.stderr
        assert len(stopped.stderr.splitlines()) == 1
    assert run(command(faces, file / "run", "--dry-run")).returncode == 0
