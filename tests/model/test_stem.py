"""Convolutions of the stem."""

from __future__ import annotations

import pytest
import torch

from fer_edge.model.stem import DepthwiseConv


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_convolution_in_training_equals_the_one_in_inference(stride: int) -> None:
    """Training takes the stride by slicing, inference by the convolution: outputs and gradients agree."""
    torch.manual_seed(0)
    conv = DepthwiseConv(8, stride)
    results = []
    for training in (True, False):
        images = torch.randn(2, 8, 14, 14, generator=torch.Generator().manual_seed(1), requires_grad=True)
        output = conv.train(training)(images)
        conv.zero_grad()
        output.square().sum().backward()
        assert images.grad is not None and conv.weight.grad is not None
        results.append((output.detach(), images.grad, conv.weight.grad.clone()))
    assert results[0][0].shape == (2, 8, 14 // stride, 14 // stride)
    for trained, inferred in zip(*results, strict=True):
        torch.testing.assert_close(trained, inferred)
