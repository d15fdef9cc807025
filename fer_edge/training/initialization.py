"""Where a run starts: from nothing, from a stem's weights, or from a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fer_edge._files import file_sha256
from fer_edge.errors import ConfigError
from fer_edge.labels import LabelSet, expand_templates, match_labels
from fer_edge.model.checkpoint import Checkpoint, CheckpointInfo, default_head, load_checkpoint
from fer_edge.model.ferformer import FERFormer
from fer_edge.model.foreign import read_foreign_weights
from fer_edge.model.release import checkpoint_from_ir50
from fer_edge.model.text import (
    FINE_TUNED,
    PromptFeatures,
    TextFeatures,
    load_text_features,
    refold,
    text_features_from_open_clip,
)
from fer_edge.model.tower import open_text_tower
from fer_edge.training.config import TrainingConfig
from fer_edge.training.module import TrainingModule
from fer_edge.training.recipe import Recipe

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]  # mean, std of RGB in [0, 1]


@dataclass(frozen=True)
class Sources:
    """Files a run is made from."""

    data: Path
    valid: Path | None = None  # validation images that lie elsewhere
    init: Path | None = None  # a checkpoint to start from
    stem: Path | None = None  # face.evoLVe's IR_50 weights to start from
    text_features: Path | None = None
    teachers: Sequence[Path] = ()


def starting_point(
    recipe: Recipe, sources: Sources, labels: LabelSet, statistics: Statistics
) -> tuple[TrainingModule, CheckpointInfo]:
    """The learner before its first step, and what its checkpoints will say.

    Args:
        recipe: Model and training.
        sources: Where its parts come from.
        labels: Of the training data.
        statistics: Of the training pixels; a start with weights keeps the statistics these were trained with.

    Raises:
        FerEdgeError: A file cannot be read, or the parts do not fit together.
    """
    if sources.init is not None and sources.stem is not None:
        raise ConfigError("a run starts from a checkpoint or from a stem's weights, not from both")
    config = recipe.training
    features, text = _text_side(config, sources, labels)
    torch.manual_seed(config.seed)
    if sources.init is not None:
        checkpoint = with_labels(load_checkpoint(sources.init), labels, features, learned=config.text == "learned")
    else:
        checkpoint = _fresh(recipe, sources, labels, features, statistics)
    info = checkpoint.info
    head = checkpoint.model.text_head
    if head is not None:
        head.text_features.requires_grad_(config.text == "learned")
        if config.text == "learned":
            info = replace(info, text_source="learned", templates=())
        elif text is not None:
            info = replace(info, text_source=f"{info.text_source}{FINE_TUNED}")
    return TrainingModule(checkpoint.model.train(), text if head is not None else None), info


def with_labels(
    checkpoint: Checkpoint, labels: LabelSet, features: TextFeatures | None = None, *, learned: bool = False
) -> Checkpoint:
    """A checkpoint for another label set: rows of labels that mean the same are kept, the others are fresh.

    Args:
        checkpoint: What was learned before.
        labels: What to tell apart now.
        features: New text features of the labels; without them, rows are kept as those of the label head.
        learned: Text features that are missing may start at random, to be learned.

    Raises:
        ConfigError: A label has no text features and they are not to be learned.
    """
    old = checkpoint.info
    rows = match_labels(labels.labels, old.labels, old.words)
    config = replace(old.config, classes=len(labels))
    if features is not None:
        config = replace(config, text_dim=features.matrix.shape[1])
    model = FERFormer(config)
    state, own = checkpoint.model.state_dict(), model.state_dict()
    by_row = {"label_head.weight", "label_head.bias", "text_head.text_features"}
    kept = {name: value for name, value in state.items() if name not in by_row and own[name].shape == value.shape}
    model.load_state_dict(kept, strict=False)
    pairs = [(new, row) for new, row in enumerate(rows) if row >= 0]
    with torch.no_grad():
        for name in by_row & own.keys():
            if own[name].shape[1:] == state[name].shape[1:]:
                for new, row in pairs:
                    own[name][new] = state[name][row]
    if features is None and config.text_head and not learned and len(pairs) < len(labels):
        missing = ", ".join(label for label, row in zip(labels.labels, rows, strict=True) if row < 0)
        raise ConfigError(
            f"the checkpoint has no text features of: {missing}; give --text-features, a text tower, or --text learned"
        )
    info = replace(old, config=config, labels=labels.labels, words=labels.words, metrics={})
    info = replace(info, provenance={"init": checkpoint.fingerprint(), "before": old.provenance})
    if features is None:
        return Checkpoint(model, info)
    return refold(Checkpoint(model, replace(info, text_source="unset")), features)


def _fresh(
    recipe: Recipe, sources: Sources, labels: LabelSet, features: TextFeatures | None, statistics: Statistics
) -> Checkpoint:
    changes: dict[str, Any] = {} if features is None else {"text_dim": features.matrix.shape[1]}
    config = recipe.model_config(len(labels), **changes)
    if sources.stem is not None:
        weights, seed = read_foreign_weights(sources.stem), recipe.training.seed
        checkpoint, _ = checkpoint_from_ir50(weights, recipe.preset, labels, config=config, seed=seed)
        stem = {"stem": "face.evoLVe IR_50", "stem_sha256": file_sha256(sources.stem)}
        checkpoint = checkpoint.with_info(provenance=stem)
    else:
        mean, std = statistics
        checkpoint = Checkpoint(
            FERFormer(config),
            CheckpointInfo(
                config=config,
                labels=labels.labels,
                words=labels.words,
                templates=(),
                text_source="unset" if config.text_head else "none",
                mean=mean,
                std=std,
                head=default_head(config),
            ),
        )
    if features is None or not config.text_head:
        return checkpoint
    return refold(checkpoint.with_info(text_source="unset"), features)


def _text_side(
    config: TrainingConfig, sources: Sources, labels: LabelSet
) -> tuple[TextFeatures | None, PromptFeatures | None]:
    """Fixed features, or a tower that learns and its features now; neither, where features are learned or kept."""
    if sources.text_features is not None and config.text != "features":
        raise ConfigError(f'text features from a file go with text = "features", not with {config.text!r}')
    if config.text == "features":
        if sources.text_features is None and sources.init is None:
            raise ConfigError('text = "features" needs a file of them; make one with: fer-edge text-features')
        return (None if sources.text_features is None else load_text_features(sources.text_features)), None
    if config.text == "learned":
        return None, None
    templates = expand_templates(config.templates)
    if config.text == "frozen":
        return text_features_from_open_clip(config.text_model, config.text_weights, labels.words, templates), None
    tower = open_text_tower(config.text_model, config.text_weights)
    text = PromptFeatures(tower, labels.words, templates)
    with torch.no_grad():
        matrix = text()
    source = f"open_clip:{config.text_model}:{Path(config.text_weights).name}"
    return TextFeatures(matrix, labels.words, templates, source), text
