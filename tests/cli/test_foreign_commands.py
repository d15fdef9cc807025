"""Commands that turn files into checkpoints and text features: arguments, files of other kinds, what is written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from fer_edge.cli.main import main
from fer_edge.labels import FERPLUS, RAFDB
from fer_edge.model.checkpoint import load_checkpoint
from fer_edge.model.runner import PyTorchRunner
from fer_edge.model.text import TextFeatures, save_text_features
from tests.tiny_model import LABELS, tiny_checkpoint

FEATURES = TextFeatures(F.normalize(torch.randn(8, 10), dim=1), FERPLUS.words, ("a {} face",), "made up")


def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object
) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["fer-edge", *map(str, arguments)])
    try:
        main()
        status: object = 0
    except SystemExit as exit:
        status = exit.code or 0
    captured = capsys.readouterr()
    assert isinstance(status, int)
    return status, captured.out, captured.err


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """80 images with labels drawn from what the tiny model gives for them."""
    folder, rng = tmp_path / "faces", np.random.default_rng(0)
    images = rng.integers(0, 256, (80, 7, 7, 3), dtype=np.uint8).repeat(16, axis=1).repeat(16, axis=2)
    probabilities = PyTorchRunner(tiny_checkpoint()).infer(images).probabilities
    for index, (pixels, row) in enumerate(zip(images, probabilities, strict=True)):
        label = LABELS[int(rng.choice(8, p=row / row.sum()))]
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / label / f"{index}.png")
    return folder


def test_fit_temperature(
    tmp_path: Path, faces: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, out = tmp_path / "tiny.safetensors", tmp_path / "out.safetensors"
    tiny_checkpoint().save(checkpoint)
    fit = ("fit-temperature", checkpoint, faces, "-o", out)
    status, stdout, stderr = run(capsys, monkeypatch, *fit, "--json")
    assert status == 0, stderr
    result = json.loads(stdout)
    assert result["likelihood_after"] <= result["likelihood_before"]
    assert load_checkpoint(out).info.metrics["temperature"]["temperature"] == result["temperature"]
    status, _, stderr = run(capsys, monkeypatch, *fit, "--limit", 1)
    assert (status, stderr.count("\n")) == (1, 1)
    assert "error: a temperature cannot be fitted on 1 images" in stderr and "without --limit" in stderr


def test_half_precision_that_overflows_is_refused_before_anything_is_written(
    tmp_path: Path, faces: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, out = tmp_path / "wide.safetensors", tmp_path / "half.safetensors"
    wide = tiny_checkpoint()
    wide.model.label_head.bias.data[7] = -9e6
    shutil.rmtree(faces / LABELS[7])
    wide.save(checkpoint)
    fit = ("fit-temperature", checkpoint, faces, "-o", out, "--half")
    status, _, stderr = run(capsys, monkeypatch, *fit)
    assert (status, stderr.count("\n"), out.exists()) == (1, 1, False)
    assert "label_head.bias holds -" in stderr and "beyond float16's 65504; leave out half precision (--half)" in stderr


def test_finite_weights_whose_outputs_are_not_are_refused(
    tmp_path: Path, faces: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, out = tmp_path / "big.safetensors", tmp_path / "out.safetensors"
    big = tiny_checkpoint()
    big.model.label_head.weight.data.fill_(3e38)
    big.save(checkpoint)
    status, _, stderr = run(capsys, monkeypatch, "fit-temperature", checkpoint, faces, "-o", out)
    assert (status, stderr.count("\n"), out.exists()) == (1, 1, False)
    assert "outputs are NaN or infinite" in stderr


def test_refold(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, out, features = (tmp_path / f"{name}.safetensors" for name in ("tiny", "out", "text"))
    tiny_checkpoint().save(checkpoint)
    save_text_features(features, FEATURES)
    status, stdout, stderr = run(capsys, monkeypatch, "refold", checkpoint, "--text-features", features, "-o", out)
    assert status == 0, stderr
    assert "text features from made up, prompts a {} face" in stdout
    tiny_checkpoint().with_info(text_source="learned").save(checkpoint)
    status, _, stderr = run(capsys, monkeypatch, "refold", checkpoint, "--template", "word", "-o", out)
    # Before the text tower: nothing else is said.
    assert stderr == "error: the model learned its text features; others in their place would mean nothing to it\n"
    for option, remedy in (("--template", "leave out --template"), ("--text-model", "leave out --text-model")):
        both = ("refold", checkpoint, "--text-features", features, option, "word", "-o", out)
        status, _, stderr = run(capsys, monkeypatch, *both)
        assert status == 2 and remedy in stderr


def test_import_names_the_weights_that_it_took(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.model.test_foreign import small_weights, tiny_release

    monkeypatch.setattr("fer_edge.model.release.preset", lambda name, classes: tiny_release())
    source, features, out = tmp_path / "a.pth", tmp_path / "text.safetensors", tmp_path / "out.safetensors"
    weights = small_weights()
    torch.save({"model": weights, "model_ema": dict(weights)}, source)
    save_text_features(features, TextFeatures(torch.eye(7, 4) + torch.randn(7, 4), RAFDB.words, ("{}",), "made up"))
    command = ("import-checkpoint", source, "-o", out, "--text-features", features)
    status, stdout, stderr = run(capsys, monkeypatch, *command)
    assert status == 0 and load_checkpoint(out).info.labels == RAFDB.labels
    assert f"{source} holds these weights more than once; took model, and --key takes another: model_ema" in stderr
    assert "below model" in stdout and "beside the weights that were taken" in stdout
    status, stdout, _ = run(capsys, monkeypatch, *command, "--key", "model_ema", "--json")
    report = json.loads(stdout)["report"]
    assert (status, report["prefix"], report["others"]) == (0, "model_ema.", ["model."])


def test_weights_that_do_not_fit_are_refused_before_a_text_tower_is_fetched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fer_edge.model.text.open_text_tower", lambda *_: pytest.fail("a tower was opened"))
    source = tmp_path / "a.pth"
    torch.save({"conv1.weight": torch.zeros(1)}, source)
    status, _, stderr = run(capsys, monkeypatch, "import-checkpoint", source, "-o", tmp_path / "o.safetensors")
    assert (status, stderr.count("\n")) == (1, 1) and "is not the FER-former authors' checkpoint" in stderr
    assert not (tmp_path / "o.safetensors").exists()


OUT = ["-o", "out.safetensors"]
EARLY: list[tuple[list[str], str]] = [
    (["text-features", "-o", "out.pth"], "-o out.pth does not end in .safetensors, which the other commands expect"),
    (["text-features", "-o", "noext"], "-o noext does not end in .safetensors"),
    (["text-features", "-o", "."], "-o . is a folder; name a file to write (.safetensors)"),
    (["text-features", *OUT, "--labels", "ferpls"], "no label set 'ferpls'"),
    (["text-features", *OUT, "--template", "a face"], "template 'a face' has no {} for the expression's word"),
    (["text-features", *OUT, "--template", "pasive"], "did you mean passive?"),
    (["text-features", *OUT, "--template", "none"], "the template none makes no prompt"),
    (["text-features", *OUT, "--text-weights", "./out.safetensors"], "the output out.safetensors is also an input"),
    (["refold", "a.safetensors", *OUT, "--template", "a face"], "template 'a face' has no {}"),
    (["refold", "out.safetensors", *OUT], "the output out.safetensors is also an input"),
    (["refold", "a.safetensors", *OUT, "--text-features", "out.safetensors"], "out.safetensors is also an input"),
    (["fit-temperature", "./out.safetensors", "data", *OUT], "the output out.safetensors is also an input"),
    (["fit-temperature", "a.safetensors", "data", "-o", "b.fer"], "-o b.fer does not end in .safetensors"),
    (["import-checkpoint", "out.safetensors", *OUT], "the output out.safetensors is also an input"),
    (["import-checkpoint", "a.pth", "-o", "b.pth"], "-o b.pth does not end in .safetensors"),
    (["import-checkpoint", "a.pth", *OUT, "--stem", "--preset", "edge"], "'edge' has no IR_50 as its stem; expected"),
    (["import-checkpoint", "a.pth", *OUT, "--stem", "--labels", "x"], "no label set 'x'"),
    (["import-checkpoint", "a.pth", *OUT, "--preset", "paper"], "--preset and --labels go with --stem"),
    (["import-checkpoint", "a.pth", *OUT, "--stem", "--text-model", "RN50"], "--text-weights have no effect beside"),
]


def test_arguments_are_checked_before_torch_is_imported() -> None:
    code = (
        "import json, sys; sys.modules['torch'] = None\n"
        "from fer_edge.cli.main import main\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    sys.argv = ['fer-edge', *arguments]\n"
        "    try: main()\n"
        "    except SystemExit as exit: print(exit.code, file=sys.stderr)\n"
        "    print('next', file=sys.stderr)\n"
    )
    commands = json.dumps([arguments for arguments, _ in EARLY])
    ran = subprocess.run([sys.executable, "-c", code, commands], capture_output=True, text=True, check=False)
    answers = ran.stderr.split("next\n")[:-1]
    assert len(answers) == len(EARLY), ran.stderr
    for (arguments, message), answer in zip(EARLY, answers, strict=True):
        assert message in answer and answer.endswith("2\n"), (arguments, answer)


@pytest.mark.parametrize("command", ["fit-temperature", "refold"])
def test_files_that_are_no_checkpoint_are_named(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    features, page, weights = tmp_path / "t.safetensors", tmp_path / "page.safetensors", tmp_path / "w.safetensors"
    save_text_features(features, FEATURES)
    page.write_text("<html>")
    torch.save({"a": torch.zeros(1)}, weights)
    data = [tmp_path] if command == "fit-temperature" else []
    for path, message in (
        (features, "is a file of text features, not a checkpoint; commands take it as --text-features"),
        (page, "is an HTML page, such as a failed download leaves behind"),
        (
            weights,
            "is a PyTorch file, not a fer-edge checkpoint: fer-edge import-checkpoint reads weights made",
        ),
        (tmp_path, "is a folder; name a checkpoint (.safetensors)"),
    ):
        status, _, stderr = run(capsys, monkeypatch, command, path, *data, "-o", tmp_path / "out.safetensors")
        assert (status, stderr.count("\n")) == (1, 1) and message in stderr
