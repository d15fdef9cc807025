"""Initial state of a run: random weights, a stem's weights, or a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fer_edge._files import file_sha256
from fer_edge.errors import ConfigError
from fer_edge.labels import LabelSet, expand_templates, match_labels
from fer_edge.model.checkpoint import Channels, Checkpoint, CheckpointInfo, load_checkpoint
from fer_edge.model.ferformer import FERFormer
from fer_edge.model.foreign import read_foreign_weights
from fer_edge.model.release import checkpoint_from_ir50
from fer_edge.model.text import (
    FINE_TUNED,
    PromptFeatures,
    TextFeatures,
    load_text_features,
    replace_text_features,
    text_features_from_encoder,
)
from fer_edge.model.tower import open_text_tower
from fer_edge.training.config import TrainingConfig
from fer_edge.training.module import TrainingModule
from fer_edge.training.recipe import Recipe

Statistics = tuple[Channels, Channels]  # mean and std of RGB in [0, 1]


@dataclass(frozen=True)
class Sources:
    """Input files of a run."""

    data: Path
    valid_data: Path | None = None  # separate validation images
    init: Path | None = None  # initial checkpoint
    stem_weights: Path | None = None  # face.evoLVe's IR_50 weights
    text_features: Path | None = None
    teachers: Sequence[Path] = ()  # checkpoints for distillation

    def paths(self) -> tuple[Path | None, ...]:
        """Return all input paths."""
        return (self.data, self.valid_data, self.init, self.stem_weights, self.text_features, *self.teachers)


def initial_module(
    recipe: Recipe, sources: Sources, labels: LabelSet, statistics: Statistics
) -> tuple[TrainingModule, CheckpointInfo]:
    """Make the module to train, and the metadata of its checkpoints.

    Args:
        recipe: Model and training settings.
        sources: Input files.
        labels: Label set of the training data.
        statistics: Pixel statistics of the training data, for random weights; initial weights keep those that they were
            trained with.

    Raises:
        FerEdgeError: Unreadable file, or parts that do not fit together.
    """
    if sources.init is not None and sources.stem_weights is not None:
        raise ConfigError("--init and --stem-weights exclude each other; leave one out")
    config = recipe.training
    features, text = _text_side(config, sources, labels)
    torch.manual_seed(config.seed)
    if sources.init is not None:
        checkpoint = with_labels(load_checkpoint(sources.init), labels, features, learned=config.text == "learned")
    else:
        checkpoint = _new_checkpoint(recipe, sources, labels, features, statistics)
    info = checkpoint.info
    head = checkpoint.model.text_head
    if head is not None:
        head.text_features.requires_grad_(config.text == "learned")
        if config.text == "learned":
            info = replace(info, text_source="learned", templates=())
        elif text is not None:
            info = replace(info, text_source=f"{info.text_source}{FINE_TUNED}")
    module = TrainingModule(checkpoint.model.train(), text if head is not None else None, int8=config.int8)
    return module, info


def with_labels(
    checkpoint: Checkpoint, labels: LabelSet, features: TextFeatures | None = None, *, learned: bool = False
) -> Checkpoint:
    """Adapt a checkpoint to another label set: rows of labels with the same meaning stay, the others are random.

    Args:
        checkpoint: Checkpoint to adapt; it is not changed.
        labels: New label set.
        features: Text features of the new labels; by default the rows of the checkpoint's are used.
        learned: Whether missing text features may be random, to be learned.

    Raises:
        ConfigError: A label without text features, which are not to be learned.
    """
    old = checkpoint.info
    rows = match_labels(labels.labels, old.labels, old.words)
    config = replace(old.config, classes=len(labels))
    if features is not None:
        config = replace(config, text_dim=features.matrix.shape[1])
    model = FERFormer(config)
    old_state, state = checkpoint.model.state_dict(), model.state_dict()
    by_row = {"label_head.weight", "label_head.bias", "text_head.text_features"}
    unchanged = {
        name: value for name, value in old_state.items() if name not in by_row and state[name].shape == value.shape
    }
    model.load_state_dict(unchanged, strict=False)
    pairs = [(new, row) for new, row in enumerate(rows) if row >= 0]
    with torch.no_grad():
        for name in by_row & state.keys():
            if state[name].shape[1:] == old_state[name].shape[1:]:
                for new, row in pairs:
                    state[name][new] = old_state[name][row]
    if features is None and config.text_head and not learned and len(pairs) < len(labels):
        missing = ", ".join(label for label, row in zip(labels.labels, rows, strict=True) if row < 0)
        raise ConfigError(
            f"the checkpoint has no text features of: {missing}; use --text-features, a text tower, or "
            "--text-side learned"
        )
    info = replace(old, config=config, labels=labels.labels, words=labels.words, metrics={})
    info = replace(info, provenance={"init": checkpoint.fingerprint(), "before": old.provenance})
    if features is None:
        return Checkpoint(model, info)
    return replace_text_features(Checkpoint(model, replace(info, text_source="unset")), features)


def _new_checkpoint(
    recipe: Recipe, sources: Sources, labels: LabelSet, features: TextFeatures | None, statistics: Statistics
) -> Checkpoint:
    """Make a checkpoint with random weights, except for the stem if its weights are given."""
    changes: dict[str, Any] = {} if features is None else {"text_dim": features.matrix.shape[1]}
    config = recipe.model_config(len(labels), **changes)
    if sources.stem_weights is not None:
        weights, seed = read_foreign_weights(sources.stem_weights), recipe.training.seed
        checkpoint, _ = checkpoint_from_ir50(weights, recipe.preset, labels, config=config, seed=seed)
        stem = {"stem": "face.evoLVe IR_50", "stem_sha256": file_sha256(sources.stem_weights)}
        checkpoint = checkpoint.with_info(provenance=stem)
    else:
        info = CheckpointInfo.of_model(config, labels, *statistics, "unset" if config.text_head else "none")
        checkpoint = Checkpoint(FERFormer(config), info)
    if features is None or not config.text_head:
        return checkpoint
    return replace_text_features(checkpoint.with_info(text_source="unset"), features)


def _text_side(
    config: TrainingConfig, sources: Sources, labels: LabelSet
) -> tuple[TextFeatures | None, PromptFeatures | None]:
    """Prepare the text features of a run.

    Returns:
        (fixed features, None), (initial features, trainable tower), or (None, None) if features are parameters or come
        from the initial checkpoint.
    """
    if sources.text_features is not None and config.text != "features":
        raise ConfigError(f'a file of text features needs text = "features", not {config.text!r}')
    if config.text == "features":
        if sources.text_features is None and sources.init is None:
            raise ConfigError(
                'text = "features" needs --text-features; make the file with: fer-edge checkpoint text-features'
            )
        return (None if sources.text_features is None else load_text_features(sources.text_features)), None
    if config.text == "learned":
        return None, None
    templates = expand_templates(config.templates)
    if config.text == "frozen":
        return text_features_from_encoder(config.text_model, config.text_weights, labels.words, templates), None
    tower = open_text_tower(config.text_model, config.text_weights)
    text = PromptFeatures(tower, labels.words, templates)
    with torch.no_grad():
        matrix = text()
    source = f"open_clip:{config.text_model}:{Path(config.text_weights).name}"
    return TextFeatures(matrix, labels.words, templates, source), text
