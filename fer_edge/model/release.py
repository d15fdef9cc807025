"""Weights made elsewhere: the FER-former authors' checkpoints and face.evoLVe's IR-50."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fer_edge.errors import CheckpointError, ConfigError
from fer_edge.labels import RAFDB, TEMPLATES, LabelSet
from fer_edge.model.checkpoint import Checkpoint, CheckpointInfo, first_decision
from fer_edge.model.config import ModelConfig, preset
from fer_edge.model.ferformer import FERFormer
from fer_edge.model.text import TextFeatures, refold

RELEASE_MEAN = (0.57514471, 0.44907006, 0.40058434)
RELEASE_STD = (0.20640279, 0.18882187, 0.18030375)
IR50_MEAN = IR50_STD = (0.5, 0.5, 0.5)  # face.evoLVe's, in training and evaluation
WRAPPERS = ("state_dict", "model_state_dict", "model")
STEM_ALIAS, STEM = "model.model.", "backbone."  # the release registers its stem twice
TOKEN_PATCHES = {"token1": 2, "token2": 3, "token3": 4, "token4": 6, "token5": 12}

# Release name -> ours. The text head's projection is fc2; fc1 is never called.
BLOCK_PARTS = {
    "res_layer.0": "norm1",
    "res_layer.1": "conv1",
    "res_layer.2": "act",
    "res_layer.3": "conv2",
    "res_layer.4": "norm3",
    "shortcut_layer.0": "shortcut.0",
    "shortcut_layer.1": "shortcut.1",
}
DIRECT = {
    "vit.cls_token": "encoder.class_token",
    "vit.clip_token": "encoder.steering_token",
    "vit.head.0.weight": "label_head.weight",
    "vit.head.0.bias": "label_head.bias",
    "fc2.weight": "text_head.projection.weight",
    "fc2.bias": "text_head.projection.bias",
}


@dataclass(frozen=True)
class ImportReport:
    """What became of every tensor."""

    used: dict[str, str]  # its name -> ours
    ignored: dict[str, str]  # its name -> why
    missing: tuple[str, ...]  # ours that no tensor filled


def read_foreign_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a `.pth`, `.pt`, `.safetensors` or `.npz` file, without running code from it.

    Raises:
        CheckpointError: The file is missing, damaged, or holds anything but tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"no file at {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, ValueError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{path} is damaged or not a weights file: {error}") from error
    except Exception as error:  # torch's unpickler refuses foreign objects with an exception type of its own
        raise CheckpointError(f"{path} holds more than tensors, which is not safe to load: {error}") from error
    for wrapper in WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise CheckpointError(f"{path} holds no state dict; expected names and tensors")
    return {str(name).removeprefix("module."): value for name, value in loaded.items()}


def release_name(name: str) -> str | None:
    """Our name for a tensor of the release, or None where we have none."""
    if name in DIRECT:
        return DIRECT[name]
    if match := re.fullmatch(r"(token\d)\.1\.(weight|bias)", name):
        return f"tokens.projections.{TOKEN_PATCHES.get(match[1])}.{match[2]}"
    if match := re.fullmatch(r"vit\.blocks\.(\d+)\.(norm1|norm2|attn|mlp)\.(.+)", name):
        return f"encoder.blocks.{match[1]}.{match[2].replace('attn', 'attention')}.{match[3]}"
    if name.startswith("vit.norm."):
        return f"tokens.norm.{name.removeprefix('vit.norm.')}"
    return stem_name(name.removeprefix(STEM)) if name.startswith(STEM) else None


def stem_name(name: str) -> str | None:
    """Our name for a tensor of face.evoLVe's IR_50, or None where we have none."""
    if match := re.fullmatch(r"input_layer\.(\d)\.(.+)", name):
        return f"stem.input.{match[1]}.{match[2]}"
    if match := re.fullmatch(r"body\.(\d+)\.((?:res|shortcut)_layer\.\d)\.(.+)", name):
        part = BLOCK_PARTS.get(match[2])
        return None if part is None else f"stem.blocks.{match[1]}.{part}.{match[3]}"
    return None


def load_release(tensors: Mapping[str, Tensor], features: TextFeatures) -> tuple[Checkpoint, ImportReport]:
    """The authors' checkpoint as ours.

    Args:
        tensors: Of their state dict.
        features: CLIP's for the labels: their checkpoints do not hold them.

    Raises:
        CheckpointError: A tensor is missing, misshapen, or the two copies of the stem differ.
    """
    for name, tensor in tensors.items():
        twin = STEM + name.removeprefix(STEM_ALIAS)
        if name.startswith(STEM_ALIAS) and twin in tensors and not torch.equal(tensor, tensors[twin]):
            raise CheckpointError(f"{name} and {twin} should be one tensor but differ")
    config = preset("release", classes=len(RAFDB))
    model = FERFormer(config).eval()
    named = {name: None if name.startswith(STEM_ALIAS) else release_name(name) for name in tensors}
    report = _assign(model, tensors, named, optional=("text_head.text_features",))
    info = CheckpointInfo(
        config=config,
        labels=RAFDB.labels,
        words=RAFDB.words,
        templates=TEMPLATES["phrase"],
        text_source="unset",
        mean=RELEASE_MEAN,
        std=RELEASE_STD,
        decision="label",
        provenance={"imported": "FER-former authors' checkpoint"},
    )
    return refold(Checkpoint(model, info), features), report


def load_ir50(model: FERFormer, tensors: Mapping[str, Tensor]) -> ImportReport:
    """Put face.evoLVe's IR_50 weights into the stem of a model of preset `paper` or `release`.

    Raises:
        CheckpointError: A stem tensor is missing or misshapen.
        ConfigError: The model's stem is no IR-50.
    """
    if not model.config.stem.pre_norm or model.config.stem.widths[0] != 64:
        raise ConfigError("IR-50 weights fit the presets paper and release; this model's stem is another")
    rest = tuple(name for name in model.state_dict() if not name.startswith("stem."))
    return _assign(model, tensors, {name: stem_name(name) for name in tensors}, optional=rest)


def checkpoint_from_ir50(
    tensors: Mapping[str, Tensor],
    preset_name: str,
    labels: LabelSet,
    features: TextFeatures | None = None,
    config: ModelConfig | None = None,
    seed: int = 0,
) -> tuple[Checkpoint, ImportReport]:
    """A model to be trained: face.evoLVe's IR_50 as its stem, everything else fresh.

    Args:
        tensors: Of IR_50's state dict.
        preset_name: `paper` or `release`.
        labels: What the model will tell apart.
        features: Of the labels; random ones, to be learned, if not given.
        config: Instead of the preset as it is.
        seed: Of what is fresh.

    Raises:
        CheckpointError: A stem tensor is missing or misshapen.
        ConfigError: The preset has no IR-50 stem, or the features do not fit.
    """
    config = config or preset(preset_name, classes=len(labels))
    torch.manual_seed(seed)
    model = FERFormer(config).eval()
    report = load_ir50(model, tensors)
    info = CheckpointInfo(
        config=config,
        labels=labels.labels,
        words=labels.words,
        templates=(),
        text_source="learned" if features is None else "unset",
        mean=IR50_MEAN,
        std=IR50_STD,
        decision=first_decision(config),
        provenance={"imported": "face.evoLVe IR_50 stem; everything else untrained"},
    )
    checkpoint = Checkpoint(model, info)
    return checkpoint if features is None else refold(checkpoint, features), report


def _assign(
    model: FERFormer, tensors: Mapping[str, Tensor], named: Mapping[str, str | None], *, optional: tuple[str, ...]
) -> ImportReport:
    state = model.state_dict()
    used = {name: ours for name, ours in named.items() if ours in state}
    ignored = {name: "the same tensor under another name" for name in tensors if name.startswith(STEM_ALIAS)}
    ignored |= {name: "not part of this model" for name in tensors if name not in used and name not in ignored}
    missing = sorted(set(state) - set(used.values()) - set(optional))
    if missing:
        raise CheckpointError(f"{len(missing)} tensors are missing, among them: {', '.join(missing[:5])}")
    wrong = [name for name, ours in used.items() if ours is not None and tensors[name].shape != state[ours].shape]
    if wrong:
        shapes = ", ".join(f"{name} {tuple(tensors[name].shape)}" for name in wrong[:5])
        raise CheckpointError(f"{len(wrong)} tensors have another shape than the model's, among them: {shapes}")
    with torch.no_grad():
        for name, ours in used.items():
            if ours is not None:
                state[ours].copy_(tensors[name])
    filled = {name: ours for name, ours in used.items() if ours is not None}
    return ImportReport(
        filled, ignored, tuple(name for name in optional if name in state and name not in used.values())
    )
