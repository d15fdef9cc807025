"""Rounding as in int8 during training."""

from __future__ import annotations

import torch

from fer_edge.model.ferformer import FERFormer
from fer_edge.training.int8 import int8_layers, round_weights
from fer_edge.training.module import TrainingModule
from tests.tiny_model import tiny_config


def model() -> FERFormer:
    torch.manual_seed(0)
    return FERFormer(tiny_config(depth=1))


def test_weights_are_multiples_of_the_step_of_their_output_channel() -> None:
    network = model()
    weights = round_weights(network)
    assert set(weights) == {f"{name}.weight" for name in int8_layers(network)}
    for name, weight in weights.items():
        before = network.get_parameter(name).detach().flatten(1)
        steps = before.abs().amax(1, keepdim=True) / 127
        multiples = weight.detach().flatten(1) / steps
        torch.testing.assert_close(multiples, multiples.round(), atol=1e-4, rtol=0)
        assert ((weight.detach().flatten(1) - before).abs() <= steps / 2 * 1.001).all()


def test_heads_remain_in_float() -> None:
    names = set(int8_layers(model()))
    assert names and not {name for name in names if "head" in name}


def test_only_training_rounds_and_gradients_pass() -> None:
    network = model()
    images = torch.randn(4, 3, 112, 112)
    module = TrainingModule(network, int8=True)
    with torch.no_grad():
        assert torch.equal(module.eval()(images).label_logits, network(images).label_logits)
        unrounded = TrainingModule(model()).train()(images).label_logits
    logits = module.train()(images).label_logits
    assert not torch.equal(logits, unrounded)
    torch.testing.assert_close(logits, unrounded, atol=0.1, rtol=0.1)
    logits.square().sum().backward()
    for name in int8_layers(network):
        gradient = network.get_parameter(f"{name}.weight").grad
        assert gradient is not None and gradient.abs().sum() > 0, name


def test_layer_of_zeros_stays_zero() -> None:
    network = model()
    name, layer = next(iter(int8_layers(network).items()))
    torch.nn.init.zeros_(layer.weight)
    assert not round_weights(network)[f"{name}.weight"].any()
