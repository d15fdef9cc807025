"""A run on FERPlus: data, labels and a model to start from."""

from __future__ import annotations

from pathlib import Path

import torch

from fer_edge.data.ferplus import majority_labels, read_ferplus, vote_distributions
from fer_edge.data.images import load_grey
from fer_edge.labels import FERPLUS
from fer_edge.model.checkpoint import CheckpointInfo
from fer_edge.model.config import ModelConfig
from fer_edge.training.config import TrainingConfig
from fer_edge.training.loop import TrainingData

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
        decision="mean" if config.text_head else "label",
        provenance={"data": "FERPlus train split (FER2013 images, FER+ votes)"},
    )
