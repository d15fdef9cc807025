"""Winograd convolutions compared with OpenVINO's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino import opset13 as ops

from fer_edge.engines.openvino.core import core
from fer_edge.engines.openvino.winograd import KERNEL, POINTS, rewrite_convolutions, row_transforms


@given(height=st.integers(1, 40), seed=st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_transforms_compute_a_padded_correlation(height: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    column, kernel = random.standard_normal(height), random.standard_normal(3)
    forward, backward, tiles = row_transforms(height)
    products = np.repeat(KERNEL @ kernel, tiles) * (forward @ column)
    assert forward.shape == (POINTS * tiles, height)
    expected = np.correlate(np.pad(column, 1), kernel, mode="valid")
    np.testing.assert_allclose(backward @ products, expected, atol=1e-5)


def model(
    size: tuple[int, ...] = (1, 128, 14, 10),
    *,
    filters: int = 128,
    stride: int = 1,
    kernel: int = 3,
    bias: bool = True,
    slope: bool = True,
    second_consumer: bool = False,
    odd_bias: bool = False,
) -> Any:
    random = np.random.default_rng(0)
    images = ops.parameter(list(size), np.float32)
    weight = random.standard_normal((filters, size[1], kernel, kernel)).astype(np.float32) / size[1]
    pad = kernel // 2
    x = convolution = ops.convolution(images, weight, [stride, stride], [pad, pad], [pad, pad], [1, 1])
    if bias:
        x = ops.add(x, random.standard_normal((1, filters, 1, 1)).astype(np.float32))
    if odd_bias:  # broadcast along the width, which equals the number of filters
        x = ops.add(x, random.standard_normal(filters).astype(np.float32))
    if slope:
        x = ops.prelu(x, random.uniform(0, 0.5, filters).astype(np.float32))
    results = [ops.result(x)] + ([ops.result(ops.relu(convolution))] if second_consumer else [])
    return openvino.Model(results, [images], "one convolution")


def outputs(network: Any) -> list[Any]:
    compiled = core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    shape = network.input(0).get_shape()
    images = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    return [np.array(value) for value in compiled([images]).values()]


@pytest.mark.parametrize("height", [1, 5, 7, 14, 16])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bias": False},
        {"slope": False},
        {"bias": False, "slope": False},
        {"second_consumer": True},
        {"filters": 130},
    ],
)
def test_rewritten_network_gives_equal_outputs(height: int, changes: dict[str, Any]) -> None:
    size = (1, 128, height, 10)
    expected = outputs(model(size, **changes))
    network = model(size, **changes)
    assert rewrite_convolutions(network) == 1
    assert len(network.get_ordered_ops()) > 20
    for output, reference in zip(outputs(network), expected, strict=True):
        np.testing.assert_allclose(output, reference, atol=1e-5 * float(np.abs(reference).max()))


def test_consecutive_convolutions_are_all_rewritten() -> None:
    def two_convolutions() -> Any:
        first = model()
        x = first.get_results()[0].input_value(0)
        weight = np.random.default_rng(2).standard_normal((128, 128, 3, 3)).astype(np.float32) / 128
        second = ops.convolution(x, weight, [1, 1], [1, 1], [1, 1], [1, 1])
        return openvino.Model([ops.result(second)], first.get_parameters(), "two convolutions")

    network = two_convolutions()
    assert rewrite_convolutions(network) == 2
    kernels = [
        tuple(op.input(1).get_shape()) for op in network.get_ordered_ops() if op.get_type_name() == "Convolution"
    ]
    assert kernels == [(128, 128, 1, 3)] * 2 * POINTS
    expected = outputs(two_convolutions())[0]
    np.testing.assert_allclose(outputs(network)[0], expected, atol=1e-5 * float(np.abs(expected).max()))


def test_addition_along_the_width_is_not_taken_for_a_bias() -> None:
    changes: dict[str, Any] = {"size": (1, 128, 14, 128), "bias": False, "odd_bias": True, "slope": False}
    network = model(**changes)
    assert rewrite_convolutions(network) == 1
    np.testing.assert_allclose(outputs(network)[0], outputs(model(**changes))[0], atol=2e-5)


@pytest.mark.parametrize(
    "changes", [{"stride": 2}, {"kernel": 1}, {"kernel": 5}, {"filters": 64}, {"size": (1, 64, 14, 14)}]
)
def test_other_convolutions_are_not_rewritten(changes: dict[str, Any]) -> None:
    assert rewrite_convolutions(model(**changes)) == 0


@pytest.mark.parametrize("size", [[-1, 128, 14, 10], [2, 128, 14, 10]])
def test_other_batch_sizes_are_not_rewritten(size: list[int]) -> None:
    network = model()
    network.reshape(size)
    assert rewrite_convolutions(network) == 0


def test_int8_convolutions_are_not_rewritten() -> None:
    images = ops.parameter([1, 128, 14, 14], np.float32)
    stored = ops.constant(np.random.default_rng(0).integers(-127, 128, (128, 128, 3, 3)).astype(np.int8))
    weight = ops.multiply(ops.convert(stored, np.float32), ops.constant(np.full((128, 1, 1, 1), 0.01, np.float32)))
    convolution = ops.convolution(images, weight, [1, 1], [1, 1], [1, 1], [1, 1])
    assert rewrite_convolutions(openvino.Model([ops.result(convolution)], [images], "dequantised weights")) == 0


def test_products_are_named_after_the_convolution() -> None:
    network = model()
    name = next(op for op in network.get_ordered_ops() if op.get_type_name() == "Convolution").get_friendly_name()
    rewrite_convolutions(network)
    names = [op.get_friendly_name() for op in network.get_ordered_ops() if op.get_type_name() == "Convolution"]
    assert sorted(names) == [f"{name}/point{point}" for point in range(POINTS)]
