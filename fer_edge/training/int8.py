"""Rounding of weights and activations in training as int8 rounds them (Jacob et al., CVPR 2018, section 3).

A model that was trained with it loses less accuracy in int8, above all in depthwise layers of narrow stems.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fer_edge.model.ferformer import FERFormer

LARGEST = 127  # of symmetric int8, the coarsest form that an engine uses
FLOAT_PARTS = ("label_head", "text_head")  # layers that int8 graphs leave in float


def round_to_step(values: Tensor, step: Tensor) -> Tensor:
    """Round to multiples of a step; gradients pass through unchanged."""
    return values + ((values / step).round() * step - values).detach()


def round_weights(model: FERFormer) -> dict[str, Tensor]:
    """Return the rounded weights of a model's int8 layers by name, with a step for each output channel."""
    weights = {}
    for name, layer in int8_layers(model).items():
        largest = layer.weight.detach().abs().flatten(1).amax(1)  # (out,)
        weights[f"{name}.weight"] = round_to_step(layer.weight, _step(largest).view(-1, *[1] * (layer.weight.ndim - 1)))
    return weights


def round_inputs(model: FERFormer) -> None:
    """Register hooks that round the inputs of a model's int8 layers in training mode, with a step for each batch."""
    for layer in int8_layers(model).values():
        layer.register_forward_pre_hook(_round_input)


def int8_layers(model: FERFormer) -> dict[str, nn.Conv2d | nn.Linear]:
    """Return the layers that run in int8 by name: convolutions and linear layers but the heads."""
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and not name.startswith(FLOAT_PARTS)
    }


def _round_input(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    if not layer.training:
        return None
    values: Tensor = inputs[0]
    return round_to_step(values, _step(values.detach().abs().amax())), *inputs[1:]


def _step(largest: Tensor) -> Tensor:
    return (largest / LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
