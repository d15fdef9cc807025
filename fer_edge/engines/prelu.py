"""PReLUs put together again in an `openvino.Model`: fp32 graphs hold them as `max(x, slope * x)` (`export/prelu.py`).

OpenVINO takes a PReLU into the convolution before it; of the other form it would make an operator of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.engines.winograd import along_channels


def join_prelus(network: Any) -> int:
    """Replace every maximum of a map and the map times slopes of at most 1, one for each channel.

    Returns:
        How many were replaced.
    """
    from openvino import opset13 as ops

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
