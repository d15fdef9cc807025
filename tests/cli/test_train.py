"""`fer-edge train` as its users meet it: killed, shared by two processes, logged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.main import get_command
from typer.testing import CliRunner

from fer_edge.cli.main import app
from fer_edge.cli.train import _run
from fer_edge.cli.training_display import Unread
from fer_edge.errors import ConfigError, FerEdgeError
from fer_edge.model.checkpoint import load_checkpoint
from fer_edge.training.files import RunFiles
from fer_edge.training.results import EpochResult
from tests.faces import face, make_ferplus

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
    assert wrong.returncode == 2 and "training.epoch is not known" in wrong.stderr
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


def stop_in_training(arguments: list[str], number: int, after: str) -> tuple[int, str]:
    """Send a signal once a line with `after` came on stderr; exit code and the rest of stderr."""
    with subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if after in line:
                break
        process.send_signal(number)
        rest = process.stderr.read()
    return process.returncode, rest


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_at_the_very_step_and_says_so(faces: Path, tmp_path: Path, number: int, code: int) -> None:
    long = command(faces, tmp_path / "run", "--set", "epochs=1000")
    returned, rest = stop_in_training(long, number, "epoch 1:")
    assert returned == code
    last = rest.splitlines()[-1]
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    epoch, step = state["next_epoch"], state["next_step"]
    place = f"epoch {epoch + 1} at step {step}" if step else f"epoch {epoch} at step 12"
    assert last == f"stopped in {place} of 12; the same command goes on from there"


@pytest.mark.slow
def test_a_folder_has_one_run_at_a_time(faces: Path, tmp_path: Path) -> None:
    long = command(faces, tmp_path / "run", "--set", "epochs=1000")
    with subprocess.Popen([sys.executable, "-m", *long], stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr is not None and "images to learn from" in first.stderr.readline()
        second = run(command(faces, tmp_path / "run", "--seed", "4"))
        first.kill()
    assert second.returncode == 1 and not second.stdout
    assert second.stderr.startswith(f"error: {tmp_path / 'run'} is in use by process {first.pid} on ")
    assert len(second.stderr.splitlines()) == 1
    assert run(command(faces, tmp_path / "run", "--dry-run")).returncode == 0


@pytest.mark.slow
def test_numbers_that_are_lost_end_the_run_with_one_line(faces: Path, tmp_path: Path) -> None:
    lost = run(command(faces, tmp_path / "run", "--learning-rate", "1e18"))
    assert lost.returncode == 1 and not lost.stdout
    error = lost.stderr.splitlines()[-1]
    assert error.startswith("error: the ") and "is NaN or infinite in epoch 1 at step " in error
    assert "Train with a lower --learning-rate" in error and "Traceback" not in lost.stderr
    assert not (tmp_path / "run" / "best.safetensors").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs the limits of POSIX")
def test_files_that_cannot_be_written_end_the_run_with_one_line(faces: Path, tmp_path: Path) -> None:
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200)); sys.argv = sys.argv[1:];"
        "from fer_edge.cli.main import main; main()"
    )
    full = subprocess.run(
        [sys.executable, "-c", limited, *command(faces, tmp_path / "run")], capture_output=True, text=True, check=False
    )
    assert full.returncode == 1 and "Traceback" not in full.stderr
    _, note, error = full.stderr.splitlines()
    assert note == "the TensorBoard log stopped: File too large; the training goes on"
    assert error.startswith(f"error: cannot write {tmp_path / 'run' / 'best.safetensors'}: File too large; ")
    assert error.endswith("make room, and run the same command again")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {".lock", "tensorboard"}


@pytest.mark.slow
def test_compilation_without_a_compiler_is_one_line(faces: Path, tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", *command(faces, tmp_path / "run", "--dry-run", "--compile")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CXX": "/nonexistent", "CC": "/nonexistent", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)},
    )
    error = finished.stderr.splitlines()[-1]
    assert finished.returncode == 1 and error.startswith("error: torch.compile failed: ")
    assert error.endswith("install a C++ compiler such as g++, or leave out --compile")
    assert "Traceback" not in finished.stderr


def test_what_cannot_be_right_is_refused_before_images_are_read(faces: Path, tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text("[model]\ndepth = 1\n")
    base = ["train", str(faces), "-o", str(tmp_path / "run")]
    for options, message in (
        (["--init", "edge", "--recipe", str(own)], "--init brings its own model; leave model out of the recipe"),
        (["--init", "edge", "--preset", "paper"], "--init brings its own model; leave out --preset and settings"),
        (["--init", "edgy"], "no checkpoint at edgy; expected a file, or one that is shipped: edge"),
        (["--template", "word"], "--template has no effect without text = frozen or fine-tuned; leave it out"),
        (["--learning-rate", "nan"], "learning_rate is nan; expected a finite number"),
        (["--learning-rate", "-1"], "learning_rate is -1.0; expected more than 0"),
        (["--set", "epocs=3"], "epocs is not known; did you mean epochs?"),
        (["-o", str(faces)], "the output"),
    ):
        result = CliRunner().invoke(app, [*base, *options])
        text = str(result.exception) if isinstance(result.exception, FerEdgeError) else result.output
        assert result.exit_code and message in " ".join(text.split()), (options, text)
        assert result.exception is None or isinstance(result.exception, (ConfigError, SystemExit))
        assert not (tmp_path / "run").exists()


def test_every_option_has_a_text() -> None:
    for name in ("train", "ablate"):
        shown = get_command(app).get_command(None, name)  # type: ignore[attr-defined]
        assert [option.name for option in shown.params if not option.help] == []


@pytest.mark.slow
def test_the_shipped_model_learns_labels_of_ones_own(tmp_path: Path) -> None:
    for split, count, seed in (("train", 8, 0), ("valid", 4, 500)):
        for number, label in enumerate(("calm", "smile")):
            for index in range(count):
                face(tmp_path / "mine" / split / label / f"{index}.png", number, seed + index)
    mine = ["fer_edge", "train", str(tmp_path / "mine"), "-o", str(tmp_path / "run"), "--init", "edge"]
    finished = run([*mine, "--epochs", "1", "--batch", "8", "--threads", "1", "--json"])
    assert finished.returncode == 0, finished.stderr
    assert load_checkpoint(tmp_path / "run" / "best.safetensors").info.labels == ("calm", "smile")


def test_a_run_that_learned_nothing_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    best = EpochResult(1, 2.0, 40.0, None, 40.0, 12.5, 1.0, only_label="neutral")
    trainer: Any = SimpleNamespace(
        fabric=SimpleNamespace(is_global_zero=True),
        files=RunFiles(tmp_path),
        data=SimpleNamespace(valid_labels=[0] * 58),
        info=SimpleNamespace(text_source="learned"),
        results=[best],
    )
    monkeypatch.setattr("fer_edge.cli.training_display.run_and_show", lambda *_: best)
    _run(trainer, tmp_path, Unread(), json=False)
    shown = capsys.readouterr()
    assert shown.err == (
        "the model predicts neutral for every validation image: nothing was learned; train more epochs, or start from "
        "a checkpoint with --init edge\n"
    )
    assert shown.out.startswith(f"{tmp_path / 'best.safetensors'}: 40.00 % of 58 validation images after epoch 2")
    _run(trainer, tmp_path, Unread(left_out=["left out 1: broken link"]), json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["best"]["only_label"] == "neutral" and printed["left_out"] == ["left out 1: broken link"]
