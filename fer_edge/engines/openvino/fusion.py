"""Passes that let OpenVINO fuse the PReLUs of an `openvino.Model` into the convolutions before them.

fp32 graphs contain a PReLU as `max(x, slope * x)` (`graph/prelu_forms.py`), which OpenVINO runs as a separate
operator. In int8 graphs a Q/DQ pair precedes it, for ONNX Runtime (`graph/qdq.py`); for OpenVINO it is an extra
rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.engines.openvino.core import openvino
from fer_edge.engines.openvino.winograd import along_channels

LEVELS = (-128, 127)
# Nodes that OpenVINO creates from a QuantizeLinear and DequantizeLinear pair, from the last one to the first.
PAIR = ("Multiply", "Subtract", "Convert", "Convert", "FakeQuantize")


def join_prelus(network: Any) -> int:
    """Replace each `max(x, slope * x)` by a PReLU, if `slope` has one value of at most 1 per channel.

    Returns:
        Number of replaced operators.
    """
    ops = openvino().opset13

    count = 0
    for node in network.get_ordered_ops():
        if node.get_type_name() != "Maximum":
            continue
        for index in (0, 1):
            source = node.input_value(1 - index)
            slopes = _slopes(node.input_value(index), source)
            if slopes is not None:
                joined = ops.prelu(source, ops.constant(slopes))
                joined.set_friendly_name(node.get_friendly_name())
                node.output(0).replace(joined.output(0))
                count += 1
                break
    return count


def _slopes(output: Any, source: Any) -> npt.NDArray[Any] | None:
    """Return the slopes if `output` is `source` times one slope per channel, else None."""
    product = output.get_node()
    if product.get_type_name() != "Multiply" or len(output.get_target_inputs()) != 1:
        return None
    factors = [product.input_value(index) for index in (0, 1)]
    constants = [factor.get_node() for factor in factors if factor.get_node().get_type_name() == "Constant"]
    if len(constants) != 1 or source not in factors:
        return None
    shape = source.get_partial_shape()
    if shape.rank.is_dynamic or shape.rank.get_length() != 4 or shape[1].is_dynamic:
        return None
    slopes = along_channels(np.asarray(constants[0].data), shape[1].get_length())
    return slopes.ravel() if slopes is not None and (slopes <= 1).all() else None


def bypass_pairs(network: Any) -> int:
    """Connect each PReLU directly to its convolution, if only a Q/DQ pair is between them.

    Returns:
        Number of bypassed pairs.
    """
    count = 0
    for node in network.get_ordered_ops():
        if node.get_type_name() == "PRelu":
            source = _source_of_pair(node.input_value(0))
            if source is not None and _is_convolution(source.get_node()):
                node.input(0).replace_source_output(source)
                count += 1
    return count


def _source_of_pair(output: Any) -> Any | None:
    """Return the input of the symmetric Q/DQ pair that computes `output`; None if something else computes it."""
    nodes = []
    for kind in PAIR:
        node = output.get_node()
        if node.get_type_name() != kind or len(output.get_target_inputs()) != 1:
            return None
        nodes.append(node)
        output = node.input_value(0)
    multiply, subtract, *_, quantize = nodes
    scale = _value(multiply.input_value(1))
    parameters = [_value(subtract.input_value(1)), *(_value(quantize.input_value(index)) for index in range(1, 5))]
    symmetric = [0, scale * LEVELS[0], scale * LEVELS[1], *LEVELS]  # zero point, input bounds, output bounds
    return output if np.allclose(parameters, symmetric, rtol=1e-5) else None


def _value(output: Any) -> float:
    """Return the value of a scalar constant, also behind a Convert; NaN for any other output."""
    node = output.get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant" or np.size(node.data) != 1:
        return np.nan
    return float(np.asarray(node.data).ravel()[0])


def _is_convolution(node: Any) -> bool:
    """Return whether the node is a convolution, with or without a bias."""
    if node.get_type_name() == "Add":
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Convolution")
