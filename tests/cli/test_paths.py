"""Commands that print paths print them whole on one line in a pipe, however long they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from fer_edge.labels import FERPLUS
from fer_edge.model.text import TextFeatures, save_text_features
from tests.command import fer_edge
from tests.synthetic import make_ferplus
from tests.tiny import tiny_bundle
from tests.tiny_model import tiny_checkpoint

FOLDER = "a folder with a name of about seventy characters, spaces and all of it"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    deep = tmp_path.joinpath(FOLDER, FOLDER, FOLDER)
    deep.mkdir(parents=True)
    return deep


@pytest.fixture
def faces(folder: Path) -> Path:
    for label in ("neutral", "happiness"):
        (folder / "faces" / label).mkdir(parents=True)
        for index in range(4):
            Image.linear_gradient("L").resize((48, 48)).rotate(90 * index).save(
                folder / "faces" / label / f"{index}.png"
            )
    return folder / "faces"


def check(output: Path, *arguments: object) -> None:
    """Run a command and check that one line has the whole path."""
    result = fer_edge(*arguments)
    assert result.returncode == 0, result.stderr
    assert any(str(output) in line for line in (result.stdout + result.stderr).splitlines()), result.stdout


def test_inspect_and_predict(folder: Path, faces: Path) -> None:
    bundle = tiny_bundle(folder / "tiny.fer")
    check(bundle, "inspect", bundle)
    check(faces / "neutral" / "0.png", "predict", faces, "--crop", "--bundle", bundle)


@pytest.mark.slow
def test_build_engine_and_bundle(folder: Path) -> None:
    checkpoint, bundle = folder / "tiny.safetensors", folder / "tiny.fer"
    tiny_checkpoint().save(checkpoint)
    check(bundle, "build-engine", checkpoint, "--out", bundle, "--engine", "onnxruntime")
    check(folder / "two.fer", "bundle", "add-engine", bundle, "--engine", "openvino", "--out", folder / "two.fer")
    check(folder / "models", "bundle", "export-triton", bundle, "--out", folder / "models")


def test_checkpoint_commands(folder: Path) -> None:
    checkpoint, features, changed = (folder / f"{name}.safetensors" for name in ("tiny", "text", "changed"))
    tiny_checkpoint().save(checkpoint)
    save_text_features(features, TextFeatures(torch.eye(8, 10), FERPLUS.words, ("{}",), "a test"))
    check(changed, "checkpoint", "set-prompts", checkpoint, "--text-features", features, "--out", changed)


def test_calibrate(folder: Path) -> None:
    checkpoint, ranges = folder / "tiny.safetensors", folder / "ranges.json"
    tiny_checkpoint().save(checkpoint)
    check(ranges, "calibrate", checkpoint, make_ferplus(folder / "ferplus"), "--out", ranges, "--count", 36)


@pytest.mark.parametrize("command", [("predict",), ("inspect",), ("evaluate", ".")], ids=lambda words: words[0])
def test_error_has_the_whole_path(folder: Path, command: tuple[str, ...]) -> None:
    missing = folder / "missing.fer"
    result = fer_edge(command[0], missing, *command[1:])
    assert result.returncode == 1 and str(missing) in result.stderr.splitlines()[0]
