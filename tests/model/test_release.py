"""Import of the authors' checkpoints: golden outputs, report, invalid tensors."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fer_edge.errors import CheckpointError, ConfigError
from fer_edge.labels import FERPLUS, RAFDB
from fer_edge.model.checkpoint import Checkpoint, load_checkpoint
from fer_edge.model.config import preset
from fer_edge.model.ferformer import FERFormer
from fer_edge.model.foreign import ForeignWeights
from fer_edge.model.release import ImportReport, checkpoint_from_ir50, load_ir50, load_release
from fer_edge.model.text import TextFeatures, replace_text_features


@pytest.fixture(scope="module")
def golden(shared: Path) -> Any:
    folder = shared / "reference" / "golden"
    spec = importlib.util.spec_from_file_location("golden_weights", folder / "weights.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.outputs = dict(np.load(folder / "release.npz"))  # type: ignore[attr-defined]
    return module


@pytest.fixture(scope="module")
def tensors(golden: Any) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in golden.state_dict().items()}


@pytest.fixture(scope="module")
def imported(golden: Any, tensors: dict[str, torch.Tensor]) -> tuple[Checkpoint, ImportReport]:
    features = TextFeatures(torch.from_numpy(golden.text_features()), RAFDB.words, ("a face image of {}",), "golden")
    checkpoint, report = load_release(ForeignWeights("best.pth", tensors))
    return replace_text_features(checkpoint, features), report


def relative_error(output: torch.Tensor, expected: npt.NDArray[np.float32]) -> float:
    return float(np.abs(output.numpy() - expected).max() / np.abs(expected).max())


@pytest.mark.slow
def test_outputs_match_the_release(golden: Any, imported: tuple[Checkpoint, ImportReport]) -> None:
    model = imported[0].model
    images = torch.from_numpy(golden.images())
    with torch.inference_mode():
        output = model(images)
        stem = model.stem(images).mean(dim=(2, 3))
        token = torch.nn.functional.normalize(model.encoder(model.tokens(model.stem(images)))[:, 0], dim=-1)
    assert relative_error(output.label_logits, golden.outputs["label_logits"]) < 1e-4
    assert output.text_logits is not None
    assert relative_error(output.text_logits, golden.outputs["text_logits"]) < 1e-4
    assert relative_error(stem, golden.outputs["stem_mean"]) < 1e-4
    assert relative_error(token, golden.outputs["image_features"]) < 1e-4


def test_report_lists_every_tensor(tensors: dict[str, torch.Tensor], imported: tuple[Checkpoint, ImportReport]) -> None:
    checkpoint, report = imported
    assert set(report.used) | set(report.ignored) == set(tensors)
    assert not set(report.used) & set(report.ignored)
    assert report.ignored["model.model.input_layer.0.weight"] == "the same tensor under another name"
    for name in ("backbone.output_layer.3.weight", "token2.1.weight", "vit.pos_embed", "fc1.weight"):
        assert report.ignored[name] == "not part of this model"
    assert checkpoint.info.labels == RAFDB.labels


def test_missing_tensors_and_wrong_shapes_are_refused(tensors: dict[str, torch.Tensor]) -> None:
    short = {name: value for name, value in tensors.items() if name != "vit.head.0.bias"}
    with pytest.raises(CheckpointError, match=r"best\.pth: 1 of \d+ tensors are missing, among them: label_head\.bias"):
        load_release(ForeignWeights("best.pth", short))
    with pytest.raises(
        CheckpointError, match=r"another shape than the model's, among them: vit\.head\.0\.bias \(3,\), ex"
    ):
        load_release(ForeignWeights("best.pth", {**tensors, "vit.head.0.bias": torch.zeros(3)}))


def test_differing_copies_of_the_stem_are_refused(tensors: dict[str, torch.Tensor]) -> None:
    name = "model.model.input_layer.0.weight"
    with pytest.raises(CheckpointError, match="should be one tensor but differ"):
        load_release(ForeignWeights("best.pth", {**tensors, name: tensors[name] + 1}))


def test_ir50_weights_are_loaded_into_the_stem(tensors: dict[str, torch.Tensor]) -> None:
    stem = {name.removeprefix("backbone."): value for name, value in tensors.items() if name.startswith("backbone.")}
    model = FERFormer(preset("paper", classes=8))
    report = load_ir50(model, ForeignWeights("ir50.pth", stem))
    assert torch.equal(model.state_dict()["stem.input.0.weight"], stem["input_layer.0.weight"])
    assert torch.equal(model.state_dict()["stem.blocks.20.conv2.weight"], stem["body.20.res_layer.3.weight"])
    assert all(name.startswith("stem.") for name in report.used.values())
    with pytest.raises(ConfigError, match="fit the presets paper and release"):
        load_ir50(FERFormer(preset("edge", classes=8)), ForeignWeights("ir50.pth", stem))


@pytest.mark.slow
def test_ir50_makes_an_initial_checkpoint(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    stem = {name.removeprefix("backbone."): value for name, value in tensors.items() if name.startswith("backbone.")}
    checkpoint, report = checkpoint_from_ir50(ForeignWeights("ir50.pth", stem), "paper", FERPLUS)
    checkpoint.save(tmp_path / "start.safetensors")
    info = load_checkpoint(tmp_path / "start.safetensors").info
    assert (info.labels, info.text_source, info.mean) == (FERPLUS.labels, "learned", (0.5, 0.5, 0.5))
    assert report.missing and not any(name.startswith("stem.") for name in report.missing)
