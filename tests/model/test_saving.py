"""Saving and loading refuse the same invalid tensors, metadata and text features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from fer_edge.errors import CheckpointError, FerEdgeError, NonFiniteError
from fer_edge.labels import FERPLUS
from fer_edge.model.checkpoint import METADATA_KEY, Checkpoint, load_checkpoint, read_checkpoint_info
from fer_edge.model.text import METADATA_KEY as TEXT_KEY
from fer_edge.model.text import TextFeatures, load_text_features, replace_text_features, save_text_features
from tests.tiny_model import tiny_checkpoint

Tensors = dict[str, Tensor]
BIAS, VARIANCE = "label_head.bias", "stem.input.1.running_var"

FAULTS: dict[str, tuple[Callable[[Tensor], Tensor], str, type[FerEdgeError], str]] = {
    "NaN": (lambda t: t * float("nan"), BIAS, NonFiniteError, "contains NaN or infinity: 8 of 8 values"),
    "infinity": (lambda t: t - float("inf"), BIAS, NonFiniteError, "contains NaN or infinity: 8 of 8 values"),
    "negative variance": (
        lambda t: -t,
        VARIANCE,
        CheckpointError,
        "contains negative values, and variances are",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_invalid_weights_are_neither_saved_nor_loaded(fault: str, tmp_path: Path) -> None:
    change, name, error, message = FAULTS[fault]
    checkpoint, path = tiny_checkpoint(), tmp_path / "a.safetensors"
    tensors = {key: value.clone() for key, value in checkpoint.model.state_dict().items()}
    tensors[name] = change(tensors[name])
    save_file(tensors, path, {METADATA_KEY: checkpoint.info.to_json()})
    with pytest.raises(error, match=rf"a\.safetensors: {name} {message}"):
        load_checkpoint(path)
    path.unlink()
    checkpoint.model.load_state_dict(tensors)
    for half in (False, True):
        with pytest.raises(error, match=rf"a\.safetensors is not written: {name} {message}"):
            checkpoint.save(path, half=half)
    assert not path.exists()


def test_weights_beyond_float16_are_refused_for_half_only(tmp_path: Path) -> None:
    checkpoint, path = tiny_checkpoint(), tmp_path / "a.safetensors"
    checkpoint.model.label_head.bias.data[7] = -90000
    with pytest.raises(
        NonFiniteError, match=r"label_head\.bias contains -90000, beyond float16's largest value 65504; leave out half"
    ):
        checkpoint.save(path, half=True)
    assert not path.exists()
    checkpoint.save(path)
    assert float(load_checkpoint(path).model.label_head.bias.detach()[7]) == -90000


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    checkpoint, path = tiny_checkpoint(), tmp_path / "a.safetensors"
    tensors = checkpoint.model.state_dict()
    save_file({**tensors, BIAS: tensors[BIAS].to(torch.int8)}, path, {METADATA_KEY: checkpoint.info.to_json()})
    with pytest.raises(CheckpointError, match=r"label_head\.bias is of type int8; expected floating point, not"):
        load_checkpoint(path)


def test_a_model_that_does_not_match_its_info_is_not_saved(tmp_path: Path) -> None:
    small, wide = tiny_checkpoint(), tiny_checkpoint(dim=32)
    with pytest.raises(CheckpointError, match=r"a\.safetensors is not written: .* has shape \(.*\); expected \("):
        Checkpoint(wide.model, small.info).save(tmp_path / "a.safetensors")
    deep = tiny_checkpoint(depth=3)
    with pytest.raises(CheckpointError, match=r"is not written: tensors missing: none; unknown: encoder\.blocks\.2"):
        Checkpoint(deep.model, small.info).save(tmp_path / "a.safetensors")


def test_nan_in_metadata_is_refused(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint().with_info(metrics={"loss": float("nan")})
    with pytest.raises(NonFiniteError, match="metrics or provenance of the checkpoint contain NaN or infinity"):
        checkpoint.save(tmp_path / "a.safetensors")
    metadata = tiny_checkpoint().with_info(metrics={"loss": 0.5}).info.to_json()
    save_file({"x": torch.zeros(1)}, tmp_path / "a.safetensors", {METADATA_KEY: metadata.replace("0.5}", "NaN}")})
    assert read_checkpoint_info(tmp_path / "a.safetensors").metrics == {"loss": None}


def with_equal_rows(matrix: Tensor) -> Tensor:
    matrix[3] = matrix[1]
    return matrix


FEATURE_FAULTS: dict[str, tuple[Callable[[Tensor], Tensor], type[FerEdgeError], str]] = {
    "NaN": (lambda t: t * float("nan"), NonFiniteError, "the text features contain NaN or infinity"),
    "same rows": (with_equal_rows, CheckpointError, "'happy' and 'sad' have the same text features"),
    "a row too few": (lambda t: t[1:], CheckpointError, r"text features of shape \(7, 10\) for 8 labels"),
}


@pytest.mark.parametrize("fault", FEATURE_FAULTS)
def test_invalid_features_are_not_saved_loaded_or_set(fault: str, tmp_path: Path) -> None:
    change, error, message = FEATURE_FAULTS[fault]
    path = tmp_path / "t.safetensors"
    good = TextFeatures(F.normalize(torch.randn(8, 10), dim=1), FERPLUS.words, ("a {}",), "test")
    bad = TextFeatures(change(good.matrix.clone()), good.words, good.templates, good.source)
    with pytest.raises(error, match=rf"t\.safetensors is not written: {message}"):
        save_text_features(path, bad)
    assert not path.exists()
    metadata = '{"words": ["' + '", "'.join(FERPLUS.words) + '"], "templates": ["a {}"], "source": "test"}'
    save_file({"text_features": bad.matrix}, path, {TEXT_KEY: metadata})
    with pytest.raises(error, match=rf"t\.safetensors: {message}"):
        load_text_features(path)
    if fault != "a row too few":
        with pytest.raises(error, match=message):
            replace_text_features(tiny_checkpoint(), bad)


def test_other_files_are_not_text_features(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    path.write_text("<html>")
    with pytest.raises(CheckpointError, match=r"t\.safetensors is an HTML page.*; expected text features made with"):
        load_text_features(path)
    with pytest.raises(
        CheckpointError, match=r"no text features at .*; make them with: fer-edge checkpoint text-features -o"
    ):
        load_text_features(tmp_path / "none")
    save_file({"x": torch.zeros(1)}, path, {TEXT_KEY: "{}"})
    with pytest.raises(CheckpointError, match=r"t\.safetensors is damaged \(.*\): make or copy it again"):
        load_text_features(path)
