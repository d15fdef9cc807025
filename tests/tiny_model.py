"""A tiny FER-former and its checkpoint, with weights as after training."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fer_edge.labels import FERPLUS
from fer_edge.model.checkpoint import Checkpoint, CheckpointInfo
from fer_edge.model.config import ModelConfig, StemConfig
from fer_edge.model.ferformer import FERFormer

LABELS = FERPLUS.labels


def tiny_config(**changes: Any) -> ModelConfig:
    """Return a configuration with 56 x 56 after the input layer, a 14 x 14 map and two encoder blocks."""
    values: dict[str, Any] = {
        "classes": len(LABELS),
        "stem": StemConfig(input_width=8, input_stride=2, widths=(8, 12), units=(2, 2)),
        "dim": 16,
        "depth": 2,
        "heads": 2,
        "text_dim": 10,
    }
    return ModelConfig(**{**values, **changes})


def settle(model: FERFormer, seed: int = 0) -> FERFormer:
    """Give norms, slopes and biases non-trivial values, so that errors in folding change the output."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
        if isinstance(module, nn.PReLU):
            module.weight.data.uniform_(0, 0.5, generator=generator)
        if isinstance(module, nn.Linear):
            module.weight.data.normal_(0, module.in_features**-0.5, generator=generator)
            if module.bias is not None:
                module.bias.data.normal_(0, 0.1, generator=generator)
    return model.eval()


def tiny_checkpoint(seed: int = 0, head: Any = None, **changes: Any) -> Checkpoint:
    """Make a tiny checkpoint with non-trivial weights."""
    config = tiny_config(**changes)
    torch.manual_seed(seed)
    return checkpoint_of(settle(FERFormer(config), seed), head)


def checkpoint_of(model: FERFormer, head: Any = None) -> Checkpoint:
    """Make a checkpoint of a model with FERPlus's classes, or the first ones."""
    classes = model.config.classes
    info = CheckpointInfo(
        config=model.config,
        labels=LABELS[:classes],
        words=FERPLUS.words[:classes],
        templates=(),
        text_source="unset",
        mean=(0.57, 0.45, 0.40),
        std=(0.21, 0.19, 0.18),
        head=head or ("mean" if model.config.text_head else "label"),
    )
    return Checkpoint(model, info)


def overflowing_checkpoint() -> Checkpoint:
    """Make a tiny checkpoint as after a diverged training: finite weights, activations that overflow."""
    checkpoint = tiny_checkpoint()
    for module in checkpoint.model.stem.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data *= 1e18
    return checkpoint
