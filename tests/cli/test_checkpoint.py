"""`fer-edge checkpoint import`, `set-prompts` and `text-features`: results, arguments, files of other kinds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from fer_edge.labels import FERPLUS, RAFDB
from fer_edge.model.checkpoint import load_checkpoint
from fer_edge.model.text import TextFeatures, save_text_features
from tests.command import fer_edge
from tests.tiny_model import tiny_checkpoint

FEATURES = TextFeatures(F.normalize(torch.randn(8, 10), dim=1), FERPLUS.words, ("a {} face",), "random")


def test_set_prompts_replaces_text_features(tmp_path: Path) -> None:
    checkpoint, out, features = (tmp_path / f"{name}.safetensors" for name in ("tiny", "out", "text"))
    tiny_checkpoint().save(checkpoint)
    save_text_features(features, FEATURES)
    result = fer_edge("checkpoint", "set-prompts", checkpoint, "--text-features", features, "-o", out)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"wrote {out}: text features from random, prompts a {{}} face\n"
    assert load_checkpoint(out).info.templates == ("a {} face",)


def test_set_prompts_refuses_learned_features_at_once(tmp_path: Path) -> None:
    checkpoint, out = tmp_path / "tiny.safetensors", tmp_path / "out.safetensors"
    tiny_checkpoint().with_info(text_source="learned").save(checkpoint)
    result = fer_edge("checkpoint", "set-prompts", checkpoint, "--template", "word", "-o", out)
    # The only line: no text tower was downloaded.
    assert result.stderr == "error: the model learned its text features in training; they cannot be replaced\n"


def test_import_reports_the_selected_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.model.test_foreign import small_weights, tiny_release

    monkeypatch.setattr("fer_edge.model.release.preset", lambda name, classes: tiny_release())
    source, features, out = tmp_path / "a.pth", tmp_path / "text.safetensors", tmp_path / "out.safetensors"
    weights = small_weights()
    torch.save({"model": weights, "model_ema": dict(weights)}, source)
    save_text_features(features, TextFeatures(torch.eye(7, 4) + torch.randn(7, 4), RAFDB.words, ("{}",), "random"))
    command = ("checkpoint", "import", source, "-o", out, "--text-features", features)
    result = fer_edge(*command)
    assert result.returncode == 0 and load_checkpoint(out).info.labels == RAFDB.labels
    assert (
        f"{source} contains several sets of weights; used model; select another with --key: model_ema" in result.stderr
    )
    assert "below model" in result.stdout and "outside of the" in result.stdout
    assert result.stdout.endswith(f"wrote {out}\n")
    result = fer_edge(*command, "--key", "model_ema", "--json")
    report = json.loads(result.stdout)["report"]
    assert (result.returncode, report["prefix"], report["others"]) == (0, "model_ema.", ["model."])


def test_other_weights_are_refused_before_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer_edge.model.text.open_text_tower", lambda *_: pytest.fail("a tower was opened"))
    source = tmp_path / "a.pth"
    torch.save({"conv1.weight": torch.zeros(1)}, source)
    result = fer_edge("checkpoint", "import", source, "-o", tmp_path / "o.safetensors")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "is not the FER-former authors' checkpoint" in result.stderr
    assert not (tmp_path / "o.safetensors").exists()


OUT = ["-o", "out.safetensors"]
IMPORT, PROMPTS, FEATURES_OUT, FIT = "import", "set-prompts", "text-features", "fit-temperature"
INVALID: list[tuple[list[str], str]] = [
    ([FEATURES_OUT, "-o", "out.pth"], "ends in .safetensors: out.safetensors"),
    ([FEATURES_OUT, "-o", "noext"], "ends in .safetensors: noext.safetensors"),
    ([FEATURES_OUT, *OUT, "--labels", "ferpls"], "--labels"),
    ([FEATURES_OUT, *OUT, "--template", "a face"], "template 'a face' has no {} for the expression's word"),
    ([FEATURES_OUT, *OUT, "--template", "pasive"], "did you mean passive?"),
    ([FEATURES_OUT, *OUT, "--template", "none"], "the template none makes no prompt"),
    ([FEATURES_OUT, *OUT, "--text-weights", "./out.safetensors"], "the output out.safetensors is also an input"),
    ([FEATURES_OUT, *OUT, "--text-model", "minilm", "--text-weights", "openai"], "no effect with --text-model minilm"),
    ([PROMPTS, "a.safetensors", *OUT, "--template", "a face"], "template 'a face' has no {}"),
    ([PROMPTS, "out.safetensors", *OUT], "the output out.safetensors is also an input"),
    ([PROMPTS, "a.safetensors", *OUT, "--text-features", "out.safetensors"], "out.safetensors is also an input"),
    ([PROMPTS, "a.safetensors", *OUT, "--text-features", "t", "--template", "word"], "--template has no effect with"),
    (
        [PROMPTS, "a.safetensors", *OUT, "--text-features", "t", "--text-model", "RN50"],
        "have no effect with --text-fea",
    ),
    ([FIT, "./out.safetensors", "data", *OUT], "the output out.safetensors is also an input"),
    ([FIT, "a.safetensors", "data", "-o", "b.fer"], "ends in .safetensors: b.safetensors"),
    ([IMPORT, "out.safetensors", *OUT], "the output out.safetensors is also an input"),
    ([IMPORT, "a.pth", "-o", "b.pth"], "ends in .safetensors: b.safetensors"),
    ([IMPORT, "a.pth", *OUT, "--stem-only", "--preset", "edge"], "'edge' has no IR-50 stem; expected paper or release"),
    ([IMPORT, "a.pth", *OUT, "--stem-only", "--labels", "x"], "--labels"),
    ([IMPORT, "a.pth", *OUT, "--preset", "paper"], "--preset and --labels need --stem-only"),
    ([IMPORT, "a.pth", *OUT, "--stem-only", "--text-model", "RN50"], "--text-weights have no effect with"),
]


def test_arguments_are_checked_before_torch_is_imported() -> None:
    code = (
        "import json, sys; sys.modules['torch'] = None\n"
        "from fer_edge.cli.main import main\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    sys.argv = ['fer-edge', 'checkpoint', *arguments]\n"
        "    try: main()\n"
        "    except SystemExit as exit: print(exit.code, file=sys.stderr)\n"
        "    print('next', file=sys.stderr)\n"
    )
    commands = json.dumps([arguments for arguments, _ in INVALID])
    process = subprocess.run([sys.executable, "-c", code, commands], capture_output=True, text=True, check=False)
    answers = process.stderr.split("next\n")[:-1]
    assert len(answers) == len(INVALID), process.stderr
    for (arguments, message), answer in zip(INVALID, answers, strict=True):
        assert message in answer and answer.endswith("2\n"), (arguments, answer)


@pytest.mark.parametrize("command", ["fit-temperature", "set-prompts"])
def test_files_that_are_no_checkpoints_are_described(command: str, tmp_path: Path) -> None:
    features, page, weights = tmp_path / "t.safetensors", tmp_path / "page.safetensors", tmp_path / "w.safetensors"
    save_text_features(features, FEATURES)
    page.write_text("<html>")
    torch.save({"a": torch.zeros(1)}, weights)
    data = [tmp_path] if command == "fit-temperature" else []
    for path, message in (
        (features, "is a file of text features, not a checkpoint; commands take it as --text-features"),
        (page, "is an HTML page, such as a failed download leaves behind"),
        (weights, "is a PyTorch file, not a fer-edge checkpoint: convert it with `fer-edge checkpoint import`"),
        (tmp_path, "is a folder; name a checkpoint (.safetensors)"),
    ):
        result = fer_edge("checkpoint", command, path, *data, "-o", tmp_path / "out.safetensors")
        assert (result.returncode, result.stderr.count("\n")) == (1, 1) and message in result.stderr
