"""Import of the FER-former authors' checkpoints and of face.evoLVe's IR-50 weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fer_edge.errors import CheckpointError, ConfigError
from fer_edge.labels import RAFDB, TEMPLATES, LabelSet
from fer_edge.model.checkpoint import Checkpoint, CheckpointInfo, check_values, convert_tensor
from fer_edge.model.config import ModelConfig, preset
from fer_edge.model.ferformer import FERFormer
from fer_edge.model.foreign import ForeignWeights, Selection
from fer_edge.model.text import TextFeatures, replace_text_features

RELEASE_MEAN = (0.57514471, 0.44907006, 0.40058434)
RELEASE_STD = (0.20640279, 0.18882187, 0.18030375)
IR50_MEAN = IR50_STD = (0.5, 0.5, 0.5)  # face.evoLVe's, in training and evaluation
STEM_ALIAS, STEM = "model.model.", "backbone."  # the release registers its stem under both names
MIN_SHARE = 0.1  # smallest share of the expected names; a file with fewer is of another model
EXAMPLES = ("vit.head.0.weight", "body.0.res_layer.0.weight")  # names in the release, and in IR_50
TOKEN_PATCHES = {"token1": 2, "token2": 3, "token3": 4, "token4": 6, "token5": 12}

# Names in the release -> names in fer-edge. The text head's projection is fc2; the release never calls fc1.
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
    """Tensors that an import used, ignored and missed."""

    used: dict[str, str]  # name in the file, without prefix -> name in the model
    ignored: dict[str, str]  # name in the file -> reason
    missing: tuple[str, ...]  # names in the model that the file does not have
    prefix: str = ""  # prefix of the names in the file
    others: tuple[str, ...] = ()  # prefixes of other sets of the same weights in the file


def release_name(name: str) -> str | None:
    """Return the model's name of a tensor of the release, or None for a tensor that the model does not have."""
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
    """Return the model's name of a tensor of face.evoLVe's IR_50, or None for a tensor that it does not have."""
    if match := re.fullmatch(r"input_layer\.(\d)\.(.+)", name):
        return f"stem.input.{match[1]}.{match[2]}"
    if match := re.fullmatch(r"body\.(\d+)\.((?:res|shortcut)_layer\.\d)\.(.+)", name):
        part = BLOCK_PARTS.get(match[2])
        return None if part is None else f"stem.blocks.{match[1]}.{part}.{match[3]}"
    return None


def load_release(weights: ForeignWeights, key: str | None = None) -> tuple[Checkpoint, ImportReport]:
    """Convert the authors' checkpoint; its text features are added later with `replace_text_features`.

    Args:
        weights: State dict of the release.
        key: Set of weights to use in a file with several, see `ForeignWeights.select`.

    Raises:
        CheckpointError: A missing tensor, a wrong shape or type, or two copies of the stem that differ.
        NonFiniteError: NaN or infinity in a weight.
    """
    config = preset("release", classes=len(RAFDB))
    model = FERFormer(config).eval()
    selection = _select(weights, model, release_name, key, "the FER-former authors' checkpoint")
    for name, tensor in selection.tensors.items():
        twin = STEM + name.removeprefix(STEM_ALIAS)
        if name.startswith(STEM_ALIAS) and _differ(tensor, selection.tensors.get(twin)):
            raise CheckpointError(f"{weights.source}: {name} and {twin} should be one tensor but differ")
    report = _assign(model, weights.source, selection, release_name, optional=("text_head.text_features",))
    provenance = {"imported": "FER-former authors' checkpoint"}
    info = CheckpointInfo.of_model(config, RAFDB, RELEASE_MEAN, RELEASE_STD)
    info = replace(info, templates=TEMPLATES["phrase"], head="label", provenance=provenance)
    return Checkpoint(model, info), report


def _differ(tensor: Tensor, twin: Tensor | None) -> bool:
    return twin is not None and not torch.equal(tensor.double().nan_to_num(), twin.double().nan_to_num())


def load_ir50(model: FERFormer, weights: ForeignWeights, key: str | None = None) -> ImportReport:
    """Load face.evoLVe's IR_50 weights into the stem of a model of preset `paper` or `release`.

    Args:
        model: Model to change.
        weights: State dict of IR_50.
        key: Set of weights to use in a file with several.

    Raises:
        CheckpointError: A missing stem tensor, or a wrong shape or type.
        NonFiniteError: NaN or infinity in a weight.
        ConfigError: A model with another stem than IR-50.
    """
    if not model.config.stem.pre_norm or model.config.stem.widths[0] != 64:
        raise ConfigError("IR-50 weights fit the presets paper and release; this model has another stem")
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
    """Make a checkpoint to be trained: face.evoLVe's IR_50 as its stem, all other weights random.

    Args:
        weights: State dict of IR_50.
        preset_name: Preset, `paper` or `release`.
        labels: Label set of the model.
        features: Text features of the labels; random, learnable ones by default.
        config: Configuration of the model; the preset's by default.
        seed: Seed of the random weights.
        key: Set of weights to use in a file with several.

    Raises:
        CheckpointError: A missing stem tensor, or a wrong shape or type.
        NonFiniteError: NaN or infinity in a weight.
        ConfigError: A preset without an IR-50 stem, or features that do not fit.
    """
    config = config or preset(preset_name, classes=len(labels))
    torch.manual_seed(seed)
    model = FERFormer(config).eval()
    report = load_ir50(model, weights, key)
    provenance = {"imported": "face.evoLVe IR_50 stem; everything else untrained"}
    source = "learned" if features is None else "unset"
    info = CheckpointInfo.of_model(config, labels, IR50_MEAN, IR50_STD, source)
    checkpoint = Checkpoint(model, replace(info, provenance=provenance))
    return checkpoint if features is None else replace_text_features(checkpoint, features), report


def _select(
    weights: ForeignWeights, model: FERFormer, rename: Callable[[str], str | None], key: str | None, expected: str
) -> Selection:
    """Select the weights of the model in a file.

    Raises:
        CheckpointError: A file of another model; the message describes its contents.
    """
    state = model.state_dict()

    def name_in_model(name: str) -> str | None:
        model_name = rename(name)
        return model_name if model_name in state else None

    matches = weights.matches(name_in_model)
    names = sum(rename is release_name or name.startswith("stem.") for name in state)
    if matches and max(map(len, matches.values())) >= MIN_SHARE * names:
        return weights.select(matches, key)
    if any(name.endswith("label_head.weight") for name in weights.tensors):
        hint = "these weights are from fer-edge, such as a resume file; use best.safetensors in the same folder"
    elif rename is not stem_name and weights.matches(stem_name):
        hint = "these are weights of face.evoLVe's IR_50; import them with --stem-only"
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
    """Copy the selected tensors into the model, after checks of names, shapes and values."""
    state, tensors = model.state_dict(), selection.tensors
    renamed = {name: None if name.startswith(STEM_ALIAS) else rename(name) for name in tensors}
    used = {name: target for name, target in renamed.items() if target is not None and target in state}
    ignored = {name: "the same tensor under another name" for name in tensors if name.startswith(STEM_ALIAS)}
    ignored |= {name: "not part of this model" for name in tensors if name not in used and name not in ignored}
    ignored |= dict.fromkeys(selection.outside, "outside of the selected weights")
    counters = {name for name in state if name.endswith("num_batches_tracked")}  # missing before PyTorch 0.4.1
    missing = sorted(set(state) - set(used.values()) - set(optional) - counters)
    if missing:
        only_stem = rename is release_name and not any(name.startswith(("encoder", "label")) for name in used.values())
        hint = "; import a stem alone with --stem-only" if only_stem else ""
        raise CheckpointError(
            f"{source}: {len(missing)} of {len(state) - len(optional)} tensors are missing, among them: "
            f"{', '.join(missing[:5])}; {ForeignWeights(source, tensors).examples()}{hint}"
        )
    _check_shapes(source, {name: (tensors[name].shape, state[target].shape) for name, target in used.items()})
    with torch.no_grad():
        for name, target in used.items():
            check_values(f"{source}: {name}", tensors[name], state[target].dtype)
            if target not in counters:
                state[target].copy_(convert_tensor(f"{source}: {name}", tensors[name], state[target].dtype))
    unset = tuple(name for name in optional if name in state and name not in used.values())
    return ImportReport(used, ignored, unset, selection.prefix, selection.others)


def _check_shapes(source: str, shapes: Mapping[str, tuple[torch.Size, torch.Size]]) -> None:
    """Check shapes, given as (in the file, in the model) by name; a wrong number of classes has its own message."""
    wrong = {name: pair for name, pair in shapes.items() if pair[0] != pair[1]}
    if not wrong:
        return
    examples = ", ".join(
        f"{name} {tuple(shape)}, expected {tuple(expected)}" for name, (shape, expected) in list(wrong.items())[:5]
    )
    heads = [
        shape for name, (shape, expected) in wrong.items() if name.startswith("vit.head.") and shape[1:] == expected[1:]
    ]
    if len(heads) == len(wrong):
        classes, release_classes = heads[0][0], len(RAFDB)
        examples += f"; the file's model has {classes} classes, the authors' release RAF-DB's {release_classes}"
    raise CheckpointError(f"{source}: {len(wrong)} tensors have another shape than the model's, among them: {examples}")
