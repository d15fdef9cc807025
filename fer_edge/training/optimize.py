"""Optimizer, learning rate schedule and weight averaging of a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, StepLR

from fer_edge.training.config import TrainingConfig


def make_optimizer(module: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Make AdamW or SGD over `parameter_groups`."""
    groups = parameter_groups(module, config)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def make_schedule(optimizer: torch.optim.Optimizer, config: TrainingConfig, steps: int) -> LRScheduler:
    """Make the learning rate schedule, which is stepped once per batch.

    Args:
        optimizer: Optimizer to schedule.
        config: Settings of the run.
        steps: Number of steps of an epoch.
    """
    total = config.epochs * steps
    if config.schedule == "step":
        return StepLR(optimizer, config.step_epochs * steps, config.step_factor)
    if config.schedule == "one-cycle":
        max_rates = [group["lr"] for group in optimizer.param_groups]
        cycle = config.optimizer != "sgd"  # OneCycleLR also cycles momentum; keep SGD's as configured
        return OneCycleLR(optimizer, max_rates, total_steps=total + 1, pct_start=config.warmup, cycle_momentum=cycle)
    warmup = max(1, round(config.warmup * total))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

    return LambdaLR(optimizer, factor)


def parameter_groups(module: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """Group parameters by learning rate and weight decay.

    Weight decay applies to matrices and kernels only, not to biases, norms, slopes and tokens.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            decay = parameter.ndim > 1 and "token" not in name.rsplit(".", 1)[-1]
            groups.setdefault((_rate(name, config), decay), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": config.learning_rate * rate,
            "weight_decay": config.weight_decay if decay else 0.0,
        }
        for (rate, decay), parameters in groups.items()
    ]


def ema(decay: float) -> Callable[[Any, Any, Any], None]:
    """Make the update of an exponential moving average; its decay rises from 0.1 to `decay`, to forget the start."""

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
