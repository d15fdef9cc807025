"""Optimizer, schedule and averaged weights of a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, StepLR

from fer_edge.training.config import TrainingConfig


def make_optimizer(learner: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW or SGD over `parameter_groups`."""
    groups = parameter_groups(learner, config)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def make_schedule(optimizer: torch.optim.Optimizer, config: TrainingConfig, steps: int) -> LRScheduler:
    """The learning rate over a run of `config.epochs` times `steps`; stepped once a batch."""
    total = config.epochs * steps
    if config.schedule == "step":
        return StepLR(optimizer, config.step_epochs * steps, config.step_factor)
    if config.schedule == "one-cycle":
        highest = [group["lr"] for group in optimizer.param_groups]
        # It would cycle momentum too; that of SGD is a setting, and stays what was asked for.
        cycled = config.optimizer != "sgd"
        return OneCycleLR(optimizer, highest, total_steps=total + 1, pct_start=config.warmup, cycle_momentum=cycled)
    rising = max(1, round(config.warmup * total))

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))

    return LambdaLR(optimizer, factor)


def parameter_groups(learner: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """A group for each part with a rate of its own, with and without weight decay.

    Decay is for matrices and kernels only, not for biases, norms, slopes and tokens.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in learner.named_parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim > 1 and "token" not in name.rsplit(".", 1)[-1]
            groups.setdefault((_rate(name, config), decayed), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": config.learning_rate * rate,
            "weight_decay": config.weight_decay if decayed else 0.0,
        }
        for (rate, decayed), parameters in groups.items()
    ]


def ema(decay: float) -> Callable[[Any, Any, Any], None]:
    """An exponential average that forgets the random start: its decay rises from 0.1 to `decay`."""

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], number: Tensor | int) -> None:
        weight = 1 - min(decay, (1 + float(number)) / (10 + float(number)))
        for mean, value in zip(averaged, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, weight)
            else:
                mean.copy_(value)

    return update


def _rate(name: str, config: TrainingConfig) -> float:
    if name.startswith("model.stem."):
        return config.stem_rate
    return config.text_rate if name.startswith(("text.", "model.text_head.")) else config.encoder_rate
