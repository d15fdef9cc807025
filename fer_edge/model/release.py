"""Weights made elsewhere: the FER-former authors' checkpoints and face.evoLVe's IR-50."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fer_edge.errors import CheckpointError, ConfigError
from fer_edge.labels import RAFDB, TEMPLATES, LabelSet
from fer_edge.model.checkpoint import Checkpoint, CheckpointInfo, check_values, converted, default_head
from fer_edge.model.config import ModelConfig, preset
from fer_edge.model.ferformer import FERFormer
from fer_edge.model.foreign import ForeignWeights, Selection
from fer_edge.model.text import TextFeatures, refold

RELEASE_MEAN = (0.57514471, 0.44907006, 0.40058434)
RELEASE_STD = (0.20640279, 0.18882187, 0.18030375)
IR50_MEAN = IR50_STD = (0.5, 0.5, 0.5)  # face.evoLVe's, in training and evaluation
STEM_ALIAS, STEM = "model.model.", "backbone."  # the release registers its stem twice
SHARE = 0.1  # of the expected names; with fewer, a file is another model's
EXAMPLES = ("vit.head.0.weight", "body.0.res_layer.0.weight")  # names in the release, and in IR_50
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
    prefix: str = ""  # of the names in the file, left out in `used`
    others: tuple[str, ...] = ()  # prefixes of other sets of the same weights in the file


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


def load_release(weights: ForeignWeights, key: str | None = None) -> tuple[Checkpoint, ImportReport]:
    """The authors' checkpoint as ours, without text features: those come through `refold`.

    Args:
        weights: Of their state dict.
        key: Which set of weights, where the file holds several: see `ForeignWeights.select`.

    Raises:
        CheckpointError: A tensor is missing, misshapen, not of floating point, or the two copies of the stem differ.
        NonFiniteError: A weight is NaN or infinite.
    """
    config = preset("release", classes=len(RAFDB))
    model = FERFormer(config).eval()
    selection = _select(weights, model, release_name, key, "the FER-former authors' checkpoint")
    for name, tensor in selection.tensors.items():
        twin = STEM + name.removeprefix(STEM_ALIAS)
        if name.startswith(STEM_ALIAS) and _differ(tensor, selection.tensors.get(twin)):
            raise CheckpointError(f"{weights.source}: {name} and {twin} should be one tensor but differ")
    report = _assign(model, weights.source, selection, release_name, optional=("text_head.text_features",))
    info = CheckpointInfo(
        config=config,
        labels=RAFDB.labels,
        words=RAFDB.words,
        templates=TEMPLATES["phrase"],
        text_source="unset",
        mean=RELEASE_MEAN,
        std=RELEASE_STD,
        head="label",
        provenance={"imported": "FER-former authors' checkpoint"},
    )
    return Checkpoint(model, info), report


def _differ(tensor: Tensor, twin: Tensor | None) -> bool:
    return twin is not None and not torch.equal(tensor.double().nan_to_num(), twin.double().nan_to_num())


def load_ir50(model: FERFormer, weights: ForeignWeights, key: str | None = None) -> ImportReport:
    """Put face.evoLVe's IR_50 weights into the stem of a model of preset `paper` or `release`.

    Raises:
        CheckpointError: A stem tensor is missing, misshapen or not of floating point.
        NonFiniteError: A weight is NaN or infinite.
        ConfigError: The model's stem is no IR-50.
    """
    if not model.config.stem.pre_norm or model.config.stem.widths[0] != 64:
        raise ConfigError("IR-50 weights fit the presets paper and release; this model's stem is another")
    rest = tuple(name for name in model.state_dict() if not name.startswith("stem."))
    selection = _select(weights, model, stem_name, key, "face.evoLVe's IR_50")
    return _assign(model, weights.source, selection, stem_name, optional=rest)


def checkpoint_from_ir50(
    weights: ForeignWeights,
    preset_name: str,
    labels: LabelSet,
    features: TextFeatures | None = None,
    config: ModelConfig | None = None,
    seed: int = 0,
    key: str | None = None,
) -> tuple[Checkpoint, ImportReport]:
    """A model to be trained: face.evoLVe's IR_50 as its stem, everything else fresh.

    Args:
        weights: Of IR_50's state dict.
        preset_name: `paper` or `release`.
        labels: What the model will tell apart.
        features: Of the labels; random ones, to be learned, if not given.
        config: Instead of the preset as it is.
        seed: Of what is fresh.
        key: Which set of weights, where the file holds several.

    Raises:
        CheckpointError: A stem tensor is missing, misshapen or not of floating point.
        NonFiniteError: A weight is NaN or infinite.
        ConfigError: The preset has no IR-50 stem, or the features do not fit.
    """
    config = config or preset(preset_name, classes=len(labels))
    torch.manual_seed(seed)
    model = FERFormer(config).eval()
    report = load_ir50(model, weights, key)
    info = CheckpointInfo(
        config=config,
        labels=labels.labels,
        words=labels.words,
        templates=(),
        text_source="learned" if features is None else "unset",
        mean=IR50_MEAN,
        std=IR50_STD,
        head=default_head(config),
        provenance={"imported": "face.evoLVe IR_50 stem; everything else untrained"},
    )
    checkpoint = Checkpoint(model, info)
    return checkpoint if features is None else refold(checkpoint, features), report


def _select(
    weights: ForeignWeights, model: FERFormer, rename: Callable[[str], str | None], key: str | None, expected: str
) -> Selection:
    """The file's weights for the model, or an error that says what the file holds in their place."""
    state = model.state_dict()

    def known(name: str) -> str | None:
        ours = rename(name)
        return ours if ours in state else None

    fits = weights.fits(known)
    wanted = sum(rename is release_name or name.startswith("stem.") for name in state)
    if fits and SHARE * wanted <= max(map(len, fits.values())):
        return weights.select(fits, key)
    if any(name.endswith("label_head.weight") for name in weights.tensors):
        hint = (
            "these are weights of fer-edge itself, such as a resume file; the checkpoint is best.safetensors beside it"
        )
    elif rename is not stem_name and weights.fits(stem_name):
        hint = "these are names of face.evoLVe's IR_50, which is imported with --stem"
    else:
        hint = f"expected names such as {EXAMPLES[rename is stem_name]}"
    raise CheckpointError(f"{weights.source} is not {expected}: {weights.examples()}; {hint}")


def _assign(
    model: FERFormer,
    source: str,
    selection: Selection,
    rename: Callable[[str], str | None],
    *,
    optional: tuple[str, ...],
) -> ImportReport:
    state, tensors = model.state_dict(), selection.tensors
    named = {name: None if name.startswith(STEM_ALIAS) else rename(name) for name in tensors}
    used = {name: ours for name, ours in named.items() if ours is not None and ours in state}
    ignored = {name: "the same tensor under another name" for name in tensors if name.startswith(STEM_ALIAS)}
    ignored |= {name: "not part of this model" for name in tensors if name not in used and name not in ignored}
    ignored |= dict.fromkeys(selection.outside, "beside the weights that were taken")
    counters = {name for name in state if name.endswith("num_batches_tracked")}  # PyTorch before 0.4.1 had none
    missing = sorted(set(state) - set(used.values()) - set(optional) - counters)
    if missing:
        stem_alone = rename is release_name and not any(ours.startswith(("encoder", "label")) for ours in used.values())
        hint = "; a stem alone is imported with --stem" if stem_alone else ""
        raise CheckpointError(
            f"{source}: {len(missing)} of {len(state) - len(optional)} tensors are missing, among them: "
            f"{', '.join(missing[:5])}; {ForeignWeights(source, tensors).examples()}{hint}"
        )
    _check_shapes(source, {name: (tensors[name].shape, state[ours].shape) for name, ours in used.items()})
    with torch.no_grad():
        for name, ours in used.items():
            check_values(f"{source}: {name}", tensors[name], state[ours].dtype)
            if ours not in counters:
                state[ours].copy_(converted(f"{source}: {name}", tensors[name], state[ours].dtype))
    unfilled = tuple(name for name in optional if name in state and name not in used.values())
    return ImportReport(used, ignored, unfilled, selection.prefix, selection.others)


def _check_shapes(source: str, shapes: Mapping[str, tuple[torch.Size, torch.Size]]) -> None:
    """Refuse tensors of another shape than the model's, given by name; say so if it is the number of classes."""
    wrong = {name: pair for name, pair in shapes.items() if pair[0] != pair[1]}
    if not wrong:
        return
    listed = ", ".join(
        f"{name} {tuple(found)}, expected {tuple(own)}" for name, (found, own) in list(wrong.items())[:5]
    )
    heads = [found for name, (found, own) in wrong.items() if name.startswith("vit.head.") and found[1:] == own[1:]]
    if len(heads) == len(wrong):
        classes, expected = heads[0][0], len(RAFDB)
        listed += f"; the file's model tells {classes} classes apart, the authors' release RAF-DB's {expected}"
    raise CheckpointError(f"{source}: {len(wrong)} tensors have another shape than the model's, among them: {listed}")
