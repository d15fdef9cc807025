"""`fer-edge train`: results, killed and stopped runs, two processes, invalid options, write errors."""

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
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from fer_edge.model.checkpoint import load_checkpoint
from tests.command import fer_edge
from tests.synthetic import face, make_ferplus

NORM = BatchNorm.forward
TINY = [
    "--epochs", "3", "--batch", "8", "--seed", "3", "--learning-rate", "4e-3", "--threads", "1", "--json",
    "--set", "model.dim=10", "--set", "model.depth=1", "--set", "model.stem.input_width=8",
    "--set", "model.stem.widths=[8, 12]", "--set", "model.stem.units=[1, 1]", "--set", "model.text_dim=8",
]  # fmt: skip


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ferplus(tmp_path_factory.mktemp("ferplus"), train=96)


def arguments(faces: Path, out: Path, *more: str) -> list[str]:
    return ["train", str(faces), "-o", str(out), *TINY, *more]


def start(command: list[str], **options: Any) -> subprocess.Popen[str]:
    """Start `fer-edge` in a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "fer_edge", *command], text=True, **options)


def epochs_of(process: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """Return the results of all epochs, without their times."""
    assert process.returncode == 0, process.stderr
    epochs: list[dict[str, Any]] = json.loads(process.stdout)["epochs"]
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in epochs]


@pytest.mark.slow
def test_a_killed_run_resumes_exactly(faces: Path, tmp_path: Path) -> None:
    every_step = ("--set", "save_minutes=0")
    whole = epochs_of(fer_edge(*arguments(faces, tmp_path / "whole", *every_step)))
    command = arguments(faces, tmp_path / "cut", *every_step)
    killed = start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    last = tmp_path / "cut" / "last.pt"
    while killed.poll() is None:
        if last.is_file() and torch.load(last, weights_only=True)["next_epoch"] >= 1:
            break
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL, "the run ended before it was killed"
    again = fer_edge(*command)
    assert epochs_of(again) == whole
    assert "resuming in epoch" in again.stderr
    cut, expected = (load_file(tmp_path / name / "best.safetensors") for name in ("cut", "whole"))
    assert all(torch.equal(cut[name], expected[name]) for name in expected)


def norm_each_half(norm: BatchNorm, images: Tensor) -> Tensor:
    """Compute a norm as two CPU processes do: on half of the batch each, with the statistics of the first half kept."""
    if not norm.training:
        return NORM(norm, images)
    first, second = images.chunk(2)
    other = F.batch_norm(second, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
    return torch.cat([NORM(norm, first), other])


@pytest.mark.slow
def test_two_processes_give_the_result_of_one_whose_norms_use_half_a_batch(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Plain SGD, because Adam amplifies gradients that differ by rounding.
    mixup = ("--mixup", "0.2", "--set", "optimizer=sgd", "--learning-rate", "0.02")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "fer_edge"]
    command = [*launch, *arguments(faces, tmp_path / "two", *mixup, "--processes", "2")]
    two = epochs_of(subprocess.run(command, capture_output=True, text=True, check=False))
    monkeypatch.setattr(BatchNorm, "forward", norm_each_half)
    one = epochs_of(fer_edge(*arguments(faces, tmp_path / "one", *mixup)))
    assert len(two) == 3
    for single, double in zip(one, two, strict=True):
        assert double["loss"] == pytest.approx(single["loss"], rel=1e-4)
        assert double["accuracy"] == single["accuracy"]
    states = [torch.load(tmp_path / name / "last.pt", weights_only=True)["average"] for name in ("one", "two")]
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_runs_are_logged_for_tensorboard(faces: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    epochs = epochs_of(fer_edge(*arguments(faces, tmp_path / "run", "--set", "epochs=2")))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    losses = [event.value for event in events.Scalars("loss/epoch")]
    assert losses == pytest.approx([epoch["loss"] for epoch in epochs])
    assert len(events.Scalars("accuracy/both heads")) == 2


def test_damaged_images_are_errors_or_skipped(tmp_path: Path) -> None:
    root = make_ferplus(tmp_path / "faces", train=32)
    (root / "FER2013Train" / "3.png").write_bytes(b"no image")
    stopped = fer_edge(*arguments(root, tmp_path / "run", "--dry-run"))
    assert stopped.returncode == 1 and "3.png is not an image" in stopped.stderr
    skipped = fer_edge(*arguments(root, tmp_path / "run", "--dry-run", "--skip-damaged"))
    assert skipped.returncode == 0, skipped.stderr
    assert "skipped: " in skipped.stderr and "31 training images, 1 skipped" in skipped.stderr
    assert json.loads(skipped.stdout)["steps"] == 3
    assert not (tmp_path / "run").exists()


def test_an_invalid_folder_is_refused_before_images_are_read(faces: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for out in (file, file / "run"):
        stopped = fer_edge(*arguments(faces, out))
        assert stopped.returncode == 1 and "training images" not in stopped.stderr
        assert stopped.stderr.startswith("error: cannot make the folder") and "name another one" in stopped.stderr
        assert len(stopped.stderr.splitlines()) == 1
    assert fer_edge(*arguments(faces, file / "run", "--dry-run")).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_at_the_current_step(faces: Path, tmp_path: Path, number: int, code: int) -> None:
    command = arguments(faces, tmp_path / "run", "--set", "epochs=1000")
    with start(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "epoch 1:" in line:
                break
        process.send_signal(number)
        rest = process.stderr.read()
    assert process.returncode == code
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    epoch, step = state["next_epoch"], state["next_step"]
    position = f"epoch {epoch + 1} at step {step}" if step else f"epoch {epoch} at step 12"
    assert rest.splitlines()[-1] == f"stopped in {position} of 12; run the same command to continue"


@pytest.mark.slow
def test_a_folder_is_used_by_one_run_at_a_time(faces: Path, tmp_path: Path) -> None:
    command = arguments(faces, tmp_path / "run", "--set", "epochs=1000")
    with start(command, stderr=subprocess.PIPE) as first:
        assert first.stderr is not None and "training images" in first.stderr.readline()
        second = fer_edge(*arguments(faces, tmp_path / "run", "--seed", "4"))
        first.kill()
    assert second.returncode == 1 and not second.stdout
    assert second.stderr.startswith(f"error: {tmp_path / 'run'} is in use by process {first.pid} on ")
    assert len(second.stderr.splitlines()) == 1
    assert fer_edge(*arguments(faces, tmp_path / "run", "--dry-run")).returncode == 0


def test_a_diverged_run_ends_with_one_error_line(faces: Path, tmp_path: Path) -> None:
    lost = fer_edge(*arguments(faces, tmp_path / "run", "--learning-rate", "1e18"))
    assert lost.returncode == 1 and not lost.stdout
    error = lost.stderr.splitlines()[-1]
    assert error.startswith("error: the ") and "is NaN or infinite in epoch 1 at step " in error
    assert "Train with a lower --learning-rate" in error and "Traceback" not in lost.stderr
    assert not (tmp_path / "run" / "best.safetensors").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs the limits of POSIX")
def test_a_full_disk_ends_the_run_with_one_error_line(faces: Path, tmp_path: Path) -> None:
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200));"
        "from fer_edge.cli.main import main; main()"
    )
    command = [sys.executable, "-c", limited, *arguments(faces, tmp_path / "run")]
    full = subprocess.run(command, capture_output=True, text=True, check=False)
    assert full.returncode == 1 and "Traceback" not in full.stderr
    _, warning, error = full.stderr.splitlines()
    assert warning == "warning: the TensorBoard log stopped: File too large; training continues"
    assert error.startswith(f"error: cannot write {tmp_path / 'run' / 'best.safetensors'}: File too large; ")
    assert error.endswith("free space, and run the same command again")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {".lock", "tensorboard"}


@pytest.mark.slow
def test_a_missing_compiler_is_one_error_line(faces: Path, tmp_path: Path) -> None:
    environment = {"CXX": "/nonexistent", "CC": "/nonexistent", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    command = arguments(faces, tmp_path / "run", "--dry-run", "--compile")
    with start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **environment}) as process:
        stderr = process.communicate()[1]
    error = stderr.splitlines()[-1]
    assert process.returncode == 1 and error.startswith("error: torch.compile failed: ")
    assert error.endswith("install a C++ compiler such as g++, or leave out --compile")
    assert "Traceback" not in stderr


def test_invalid_options_are_refused_before_images_are_read(faces: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text("[model]\ndepth = 1\n")
    for options, message in (
        (["--init", "edge", "--recipe", str(recipe)], "--init defines the model; leave model out of the recipe"),
        (["--init", "edge", "--preset", "paper"], "--init defines the model; leave out --preset and settings"),
        (["--init", "edgy"], "no checkpoint at edgy; expected a file, or one that is shipped: edge"),
        (["--template", "word"], "--template has no effect without text = frozen or fine-tuned; leave it out"),
        (["--learning-rate", "nan"], "learning_rate is nan; expected a finite number"),
        (["--learning-rate", "-1"], "learning_rate is -1.0; expected"),
        (["--set", "epocs=3"], "epocs is not known; did you mean "),
        (["--text-side", "frosen"], "--text-side"),
        (["--label-targets", "most"], "--label-targets"),
        (["-o", str(faces)], "the output"),
    ):
        result = fer_edge("train", faces, "-o", tmp_path / "run", *options)
        assert result.returncode == 2 and message in result.stderr, (options, result.stderr)
        assert not (tmp_path / "run").exists() and "Traceback" not in result.stderr


@pytest.mark.slow
def test_the_shipped_model_is_trained_on_new_labels(tmp_path: Path) -> None:
    for split, count, seed in (("train", 8, 0), ("valid", 4, 500)):
        for number, label in enumerate(("calm", "smile")):
            for index in range(count):
                face(tmp_path / "faces" / split / label / f"{index}.png", number, seed + index)
    command = ["train", tmp_path / "faces", "-o", tmp_path / "run", "--init", "edge"]
    result = fer_edge(*command, "--epochs", 1, "--batch", 8, "--threads", 1, "--json")
    assert result.returncode == 0, result.stderr
    assert load_checkpoint(tmp_path / "run" / "best.safetensors").info.labels == ("calm", "smile")
