"""Unsigned activations in the int8 graph: ReLU and ReLU6 as the saturation of uint8.

A quantiser to uint8 with zero point 0 saturates at 0 and at the largest value of the range, as the activation does. It
replaces the activation, and the values have twice as many levels. ONNX Runtime then runs a chain of convolutions
without operators between them. TensorRT accepts signed activations only.

A float convolution between two such quantisers keeps its activation. Without it, ONNX Runtime would quantise the
weights of this convolution, with one scale for all channels.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from fer_edge.graph.ranges import LEVELS
from fer_edge.graph.typed_graph import add_constant, array_of, input_of, name_of

UNSIGNED_LEVELS = 255  # positive uint8 levels


def is_activation(node: ir.Node) -> bool:
    """Return whether a node is a ReLU or ReLU6."""
    return _largest(node) is not None


def make_unsigned(graph: ir.Graph) -> None:
    """Replace each ReLU and ReLU6 of an int8 graph, and the signed pairs at its input and output, by a uint8 pair."""
    for node in list(graph):
        largest = _largest(node)
        if largest is not None and not _is_float_between_pairs(input_of(node, 0).producer()):
            _replace(graph, node, largest)
    for constant in list(graph.initializers.values()):
        if not constant.uses():
            graph.initializers.pop(name_of(constant))


def _largest(node: ir.Node) -> float | None:
    """Return the largest value of a ReLU or ReLU6, which may be infinite; None for other nodes."""
    if node.op_type == "Relu":
        return np.inf
    bounds = [value for value in node.inputs[1:] if value is not None and value.const_value is not None]
    if node.op_type != "Clip" or len(bounds) != 2 or float(array_of(bounds[0])) != 0:
        return None
    return float(array_of(bounds[1]))


def _replace(graph: ir.Graph, activation: ir.Node, largest: float) -> None:
    """Replace the signed pairs of an activation by a uint8 pair; remove the activation if it has no other consumer."""
    value, output = input_of(activation, 0), activation.outputs[0]
    before = _pair_of(value)
    quantizers = [user for user in output.consumers() if user.op_type == "QuantizeLinear"]
    scales = [input_of(node, 1) for node in quantizers] or ([input_of(before, 1)] if before is not None else [])
    if not scales:
        return
    stored = array_of(scales[0])
    bound = min(float(stored) * LEVELS, largest)
    scale = add_constant(
        graph, f"{scales[0].name}.unsigned", np.array(bound / UNSIGNED_LEVELS, np.float32).astype(stored.dtype)
    )
    zero = add_constant(graph, "uint8_zero", np.array(0, np.uint8))
    place = name_of(activation)
    quantized = ir.Value(name=f"quantized {place}", type=ir.TensorType(ir.DataType.UINT8), shape=output.shape)
    dequantized = ir.Value(name=f"dequantized {place}", type=output.type, shape=output.shape)
    source = value if before is None else input_of(before, 0)
    pair = (
        ir.node("QuantizeLinear", [source, scale, zero], outputs=[quantized], name=f"quantize {place}"),
        ir.node("DequantizeLinear", [quantized, scale, zero], outputs=[dequantized], name=f"dequantize {place}"),
    )
    graph.insert_after(activation, pair)
    removed = []
    for quantizer in quantizers:
        (old,) = quantizer.outputs[0].consumers()
        ir.convenience.replace_all_uses_with(old.outputs[0], dequantized)
        removed += [old, quantizer]
    if before is not None:  # the value was quantised for every consumer
        ir.convenience.replace_all_uses_with(output, dequantized)
    graph.remove(removed, safe=True)
    if not output.uses():
        graph.remove([activation], safe=True)
        if before is not None:
            graph.remove([*before.outputs[0].consumers(), before], safe=True)


def _is_float_between_pairs(node: ir.Node | None) -> bool:
    """Return whether a node is a convolution of quantised values by float weights."""
    if node is None or node.op_type != "Conv":
        return False
    producers = [input_of(node, index).producer() for index in (0, 1)]
    values, weights = (producer is not None and producer.op_type == "DequantizeLinear" for producer in producers)
    return values and not weights


def _pair_of(value: ir.Value) -> ir.Node | None:
    """Return the quantiser of the pair that makes a value; None without a pair, or if the pair has other consumers."""
    node = value.producer()
    if node is None or node.op_type != "DequantizeLinear" or len(value.uses()) != 1:
        return None
    quantizer = input_of(node, 0).producer()
    return quantizer if quantizer is not None and len(quantizer.outputs[0].uses()) == 1 else None
