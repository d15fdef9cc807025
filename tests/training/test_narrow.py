"""Narrow copies of trained models."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fer_edge.errors import ConfigError
from fer_edge.model.checkpoint import CheckpointInfo, load_checkpoint
from fer_edge.model.config import ModelConfig, StemConfig, preset
from fer_edge.model.ferformer import FERFormer
from fer_edge.training.narrow import check_narrow, choose_channels, copied_blocks, measure_norms, narrow_state
from tests.command import fer_edge
from tests.tiny_model import checkpoint_of, settle, tiny_config

STEM = StemConfig(kind="separable", color="grey", input_width=8, input_stride=2, widths=(8, 12, 16), units=(1, 2, 1))


def make_model(config: ModelConfig) -> FERFormer:
    torch.manual_seed(0)
    return settle(FERFormer(config))


def images(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, 112, 112, generator=torch.Generator().manual_seed(0))


def narrowed(model: FERFormer, stem: StemConfig) -> tuple[FERFormer, list[torch.Tensor]]:
    config = replace(model.config, stem=stem)
    blocks = copied_blocks(model.config, config)
    channels = choose_channels(model, config, blocks, iter([images()]))
    result = FERFormer(config).eval()
    result.load_state_dict(narrow_state(model, blocks, channels))
    return result, channels


@torch.inference_mode()
def test_channels_that_nothing_reads_are_left_out_without_an_effect() -> None:
    model = make_model(tiny_config(stem=STEM, grid=14, patches=(2, 7)))
    measure_norms(model.stem, iter([images()]))  # so that no channel is constant
    unused = [[1, 4], [0, 5, 11], [2, 3, 7], [6, 15]]
    for index in range(3):
        model.get_parameter(f"stem.blocks.{index + 1}.3.weight")[:, unused[index]] = 0
    for patch in (2, 7):
        weight = model.get_parameter(f"tokens.projections.{patch}.weight")
        weight.view(len(weight), -1, 16)[:, :, unused[3]] = 0
    result, channels = narrowed(model, replace(STEM, widths=(6, 9, 14)))
    widths = (8, 12, 12, 16)
    left_out = [sorted({*range(width)} - {*kept.tolist()}) for width, kept in zip(widths, channels, strict=True)]
    assert left_out == unused
    for before, after in zip(model(images()), result(images()), strict=True):
        torch.testing.assert_close(before, after)


@torch.inference_mode()
def test_first_blocks_of_each_stage_are_copied() -> None:
    model = make_model(tiny_config(stem=STEM, grid=14, patches=(2, 7)))
    measure_norms(model.stem, iter([images()]))
    result, _ = narrowed(model, replace(STEM, units=(1, 1, 1)))
    blocks = model.stem.blocks
    x = model.stem.input(model.stem.grey(images()) if model.stem.grey is not None else images())
    for index in (0, 1, 3):
        x = blocks[index](x)
    torch.testing.assert_close(result.stem(images()), x)


def test_a_larger_stride_of_the_input_layer_leaves_out_the_first_stage() -> None:
    stem = replace(STEM, input_stride=4, widths=(12, 16), units=(2, 1))
    assert copied_blocks(tiny_config(stem=STEM), tiny_config(stem=stem)) == [1, 2, 3]
    check_narrow(tiny_config(stem=STEM), tiny_config(stem=stem))


def test_statistics_of_norms_are_those_of_the_images() -> None:
    model = make_model(tiny_config(stem=STEM, grid=14, patches=(2, 7)))
    measure_norms(model.stem, iter([images(8)]))
    norm = model.stem.input[1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.momentum == 0.1 and not norm.training
    with torch.inference_mode():
        assert model.stem.grey is not None
        expected = model.stem.input[0](model.stem.grey(images(8))).mean((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, expected)


@pytest.mark.parametrize(
    ("stem", "message"),
    [
        (replace(STEM, widths=(8, 13, 16)), r"widths \(8, 13, 16\), units \(1, 2, 1\) and depth 2.*nowhere wider or"),
        (
            replace(STEM, units=(1, 2, 2)),
            r"units \(1, 2, 2\) and depth 2, the checkpoint \(8, 12, 16\), \(1, 2, 1\) and 2",
        ),
        (
            replace(STEM, input_stride=4),
            "a map of 7 and an input stride of 4, the checkpoint 14 and 2; expected the same map",
        ),
        (replace(STEM, kind="ir", widths=(8, 12, 16)), "stem.kind is 'separable' in the checkpoint and 'ir'"),
    ],
)
def test_other_forms_are_refused(stem: StemConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_narrow(tiny_config(stem=STEM, grid=7, patches=(7,)), tiny_config(stem=stem, grid=7, patches=(7,)))


def test_command(tmp_path: Path) -> None:
    edge = preset("edge", classes=8)
    widths = tuple(width + 4 for width in edge.stem.widths)
    config = replace(edge, stem=replace(edge.stem, widths=widths, input_kernel=5), grid=7, patches=(1, 7), depth=2)
    checkpoint, out = tmp_path / "wide.safetensors", tmp_path / "start.safetensors"
    checkpoint_of(make_model(config)).save(checkpoint)
    folder = tmp_path / "train" / "happiness"
    folder.mkdir(parents=True)
    (tmp_path / "valid" / "happiness").mkdir(parents=True)
    for index, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)):
        Image.fromarray(pixels).save(folder / f"{index}.png")
    Image.fromarray(pixels).save(tmp_path / "valid" / "happiness" / "a.png")
    result = fer_edge("checkpoint", "narrow", checkpoint, tmp_path, "-o", out, "--json", "--count", 2)
    assert result.returncode == 0, result.stderr
    values = json.loads(result.stdout)
    assert values["images"] == 2 and values["parameters_after"] < values["parameters_before"]
    assert {name.split(".")[0] for name in values["new_tensors"]} == {"stem", "tokens"}
    assert {name for name in values["new_tensors"] if name.startswith("stem.input.0.")} == {"stem.input.0.weight"}
    assert "stem.input.1.running_var" in values["new_tensors"]  # statistics of the layer with another kernel
    info: CheckpointInfo = load_checkpoint(out).info
    assert info.config == edge and info.provenance["init"] == load_checkpoint(checkpoint).fingerprint()
    refused = fer_edge("checkpoint", "narrow", out, tmp_path, "-o", checkpoint, "--preset", "teacher")
    assert refused.returncode == 2 and "stem.kind is 'separable' in the checkpoint and 'ir'" in refused.stderr


def test_missing_package_is_named() -> None:
    code = (
        "import sys\nsys.modules['torch'] = None\n"
        "sys.argv = ['fer-edge', 'checkpoint', 'narrow', 'edge', 'faces', '-o', 'out.safetensors']\n"
        "from fer_edge.cli.entry import main\nmain()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "narrowing a model needs torch" in result.stderr and 'pip install "fer-edge[export]"' in result.stderr
