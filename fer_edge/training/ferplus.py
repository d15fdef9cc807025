"""A run on FERPlus: data, labels and a model to start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from fer_edge.data.ferplus import majority_labels, read_ferplus, vote_distributions
from fer_edge.data.images import load_grey
from fer_edge.labels import FERPLUS
from fer_edge.model.checkpoint import Checkpoint, CheckpointInfo, first_decision, load_checkpoint
from fer_edge.model.config import ModelConfig, preset
from fer_edge.model.ferformer import FERFormer
from fer_edge.model.text import load_text_features, refold
from fer_edge.training.config import TrainingConfig
from fer_edge.training.loop import Trainer, TrainingData

# Mean and standard deviation of FERPlus's training pixels, in [0, 1].
GREY_MEAN = 0.5077
GREY_STD = 0.2550


def ferplus_training_data(root: Path, config: TrainingConfig) -> TrainingData:
    """Decode the training split, and the majority-labelled part of the validation split.

    Raises:
        DataError: The layout is not FERPlus's or an image cannot be read.
    """
    train, valid = read_ferplus(root, "train"), read_ferplus(root, "valid")
    if config.targets == "majority":
        labels = torch.from_numpy(majority_labels(train.votes))
        targets = torch.nn.functional.one_hot(labels.clamp(min=0), len(FERPLUS)).float()
        targets[labels < 0] = 0
    else:
        targets = torch.from_numpy(vote_distributions(train.votes))
    used = targets.sum(dim=1) > 0
    valid_labels = torch.from_numpy(majority_labels(valid.votes))
    counted = valid_labels >= 0
    return TrainingData(
        images=torch.from_numpy(load_grey(train.paths))[used, None],
        targets=targets[used],
        valid_images=torch.from_numpy(load_grey(valid.paths))[counted, None],
        valid_labels=valid_labels[counted],
    )


def ferplus_info(config: ModelConfig, templates: tuple[str, ...], text_source: str) -> CheckpointInfo:
    """Metadata of a model about to be trained on FERPlus."""
    return CheckpointInfo(
        config=config,
        labels=FERPLUS.labels,
        words=FERPLUS.words,
        templates=templates,
        text_source=text_source,
        mean=(GREY_MEAN,) * 3,
        std=(GREY_STD,) * 3,
        decision=first_decision(config),
        provenance={"data": "FERPlus train split (FER2013 images, FER+ votes)"},
    )


def ferplus_trainer(
    root: Path,
    folder: Path,
    preset_name: str,
    config: TrainingConfig,
    text_features: Path | None = None,
    teachers: Sequence[Path] = (),
) -> Trainer:
    """A run on FERPlus in `folder`, from scratch; call `resume` to go on where it stopped.

    Args:
        root: FERPlus's folder.
        folder: Where checkpoints and the resume point go.
        preset_name: Of the model.
        config: How to train.
        text_features: Fixed features of the labels; learned ones if not given.
        teachers: Checkpoints whose predictions are part of the targets.

    Raises:
        FerEdgeError: Data, preset or features cannot be used.
    """
    model_config = preset(preset_name, classes=len(FERPLUS))
    torch.manual_seed(config.seed)
    model = FERFormer(model_config)
    info = ferplus_info(model_config, (), "learned")
    if text_features is not None:
        features = load_text_features(text_features)
        unset = Checkpoint(model, replace(info, text_source="unset"))
        info = refold(unset, features).info
        assert model.text_head is not None
        model.text_head.text_features.requires_grad_(False)
    return Trainer(
        model, info, config, ferplus_training_data(root, config), folder, [load_checkpoint(path) for path in teachers]
    )
