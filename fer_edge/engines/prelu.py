"""PReLUs of an `openvino.Model` in the form that OpenVINO takes into the convolution before them.

fp32 graphs hold them as `max(x, slope * x)` (`export/prelu.py`), of which it would make an operator of its own. In int8
graphs a pair stands between, for ONNX Runtime (`calibration/qdq.py`): to OpenVINO it is one rounding more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.engines.quiet import import_package
from fer_edge.engines.winograd import along_channels

LEVELS = (-128, 127)
# From a pair's end to its beginning, as OpenVINO reads QuantizeLinear and DequantizeLinear.
PAIR = ("Multiply", "Subtract", "Convert", "Convert", "FakeQuantize")


def join_prelus(network: Any) -> int:
    """Replace every maximum of a map and the map times slopes of at most 1, one for each channel.

    Returns:
        How many were replaced.
    """
    ops = import_package("openvino").opset13

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
    """The slopes, if an output is `source` times one for each channel."""
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


def skip_pairs(network: Any) -> int:
    """Let every PReLU read its convolution as it is, where only a pair stands between.

    Returns:
        How many now do.
    """
    count = 0
    for node in network.get_ordered_ops():
        if node.get_type_name() == "PRelu":
            source = _before_pair(node.input_value(0))
            if source is not None and _is_convolution(source.get_node()):
                node.input(0).replace_source_output(source)
                count += 1
    return count


def _before_pair(output: Any) -> Any | None:
    """What a symmetric pair rounds, if that is all that an output is."""
    nodes = []
    for kind in PAIR:
        node = output.get_node()
        if node.get_type_name() != kind or len(output.get_target_inputs()) != 1:
            return None
        nodes.append(node)
        output = node.input_value(0)
    multiply, subtract, *_, quantize = nodes
    scale = _value(multiply.input_value(1))
    found = [_value(subtract.input_value(1)), *(_value(quantize.input_value(index)) for index in range(1, 5))]
    zero_and_bounds = [0, scale * LEVELS[0], scale * LEVELS[1], *LEVELS]
    return output if np.allclose(found, zero_and_bounds, rtol=1e-5) else None


def _value(output: Any) -> float:
    """A constant's single value, through a change of its type; not a number if it is no such constant."""
    node = output.get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant" or np.size(node.data) != 1:
        return np.nan
    return float(np.asarray(node.data).ravel()[0])


def _is_convolution(node: Any) -> bool:
    """A convolution, with a bias or without."""
    if node.get_type_name() == "Add":
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Convolution")
