"""`fer-edge checkpoint fit-temperature`: result, invalid images and weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_edge.model.checkpoint import load_checkpoint
from fer_edge.model.runner import PyTorchRunner
from tests.command import fer_edge
from tests.tiny_model import LABELS, tiny_checkpoint

COMMAND = ("checkpoint", "fit-temperature")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 80 images with labels drawn from the tiny model's probabilities."""
    folder, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    images = rng.integers(0, 256, (80, 7, 7, 3), dtype=np.uint8).repeat(16, axis=1).repeat(16, axis=2)
    probabilities = PyTorchRunner(tiny_checkpoint()).infer(images).probabilities
    for index, (pixels, row) in enumerate(zip(images, probabilities, strict=True)):
        label = LABELS[int(rng.choice(8, p=row / row.sum()))]
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / label / f"{index}.png")
    return folder


def test_a_temperature_is_fitted_and_saved(tmp_path: Path, faces: Path) -> None:
    checkpoint, out = tmp_path / "tiny.safetensors", tmp_path / "out.safetensors"
    tiny_checkpoint().save(checkpoint)
    result = fer_edge(*COMMAND, checkpoint, faces, "-o", out, "--json")
    assert result.returncode == 0, result.stderr
    fit = json.loads(result.stdout)
    assert fit["likelihood_after"] <= fit["likelihood_before"] and fit["checkpoint"] == str(out)
    assert load_checkpoint(out).info.metrics["temperature"]["temperature"] == fit["temperature"]
    text = fer_edge(*COMMAND, checkpoint, faces, "-o", out).stdout
    assert f"temperature {fit['temperature']:.3f}, fitted on 80 images" in text and f"wrote {out}\n" in text


def test_too_few_images_are_one_error_line(tmp_path: Path, faces: Path) -> None:
    checkpoint = tmp_path / "tiny.safetensors"
    tiny_checkpoint().save(checkpoint)
    result = fer_edge(*COMMAND, checkpoint, faces, "-o", tmp_path / "out.safetensors", "--count", 1)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "error: a temperature cannot be fitted on 1 images" in result.stderr and "without --count" in result.stderr


def test_weights_beyond_float16_are_not_written_with_half(tmp_path: Path, faces: Path) -> None:
    checkpoint, out = tmp_path / "wide.safetensors", tmp_path / "half.safetensors"
    wide = tiny_checkpoint()
    wide.model.label_head.bias.data[7] = -9e6
    images = shutil.copytree(faces, tmp_path / "faces", ignore=shutil.ignore_patterns(LABELS[7]))
    wide.save(checkpoint)
    result = fer_edge(*COMMAND, checkpoint, images, "-o", out, "--half")
    assert (result.returncode, result.stderr.count("\n"), out.exists()) == (1, 1, False)
    assert "label_head.bias contains -" in result.stderr
    assert "beyond float16's largest value 65504; leave out half precision (--half)" in result.stderr


def test_nonfinite_outputs_are_one_error_line(tmp_path: Path, faces: Path) -> None:
    checkpoint, out = tmp_path / "big.safetensors", tmp_path / "out.safetensors"
    big = tiny_checkpoint()
    big.model.label_head.weight.data.fill_(3e38)
    big.save(checkpoint)
    result = fer_edge(*COMMAND, checkpoint, faces, "-o", out)
    assert (result.returncode, result.stderr.count("\n"), out.exists()) == (1, 1, False)
    assert "outputs are NaN or infinite" in result.stderr
