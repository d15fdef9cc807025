"""The int8 graph: explicit QuantizeLinear and DequantizeLinear pairs, from the float graph and its ranges.

Quantisation is symmetric int8 with zero point 0: one scale per output channel of a weight, one scale per activation
tensor. TensorRT requires this form, and OpenVINO and ONNX Runtime fuse it. Speed depends on the places of the pairs:

- at the inputs of each int8 layer; if the input is a rearranged tensor, also before the rearranging nodes, so that
  they move bytes;
- behind each int8 convolution, even if a PReLU or an addition follows: ONNX Runtime has no int8 convolution with float
  output, and OpenVINO fuses the pair, and the operators that follow, into the convolution;
- at the other operand of an addition that follows an int8 convolution, so that the addition is fused too.

Depthwise convolutions stay in float by default: they are limited by memory bandwidth, and OpenVINO has int8 kernels for
some widths only. With unsigned activations (`fer_edge.graph.unsigned`), those of separable convolutions are int8 too:
the whole chain is, without a pair that costs time.

Every consumer has a pair of its own: ONNX Runtime converts int8 to uint8, which its fast kernels need, only for tensors
with one consumer. The other engines accept both forms.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from fer_edge.engines.base import HALF_SCALES
from fer_edge.errors import ConfigError
from fer_edge.graph.ranges import LEVELS, Ranges
from fer_edge.graph.typed_graph import (
    Layer,
    TypedGraph,
    add_constant,
    array_of,
    first_move,
    input_of,
    name_of,
    origin,
)
from fer_edge.graph.unsigned import is_activation, make_unsigned

MIN_MAGNITUDE = 1e-12  # gives channels and tensors of zeros a valid scale
HALF_SCALES_OPSET = 19  # first opset that allows float16 scales
Places = dict[tuple[ir.Node, int], ir.Value]  # node and input position -> value whose range is used


def check_layers(graph: TypedGraph, names: Iterable[str]) -> None:
    """Check that a graph contains the named layers.

    Args:
        graph: The float deploy graph.
        names: Names of the layers.

    Raises:
        ConfigError: Unknown layer.
    """
    unknown = sorted({*names} - {layer.name for layer in graph.layers})
    if unknown:
        raise ConfigError(
            f"no layer {unknown[0]} in the graph; expected float_layers to name some of its {len(graph.layers)} layers"
        )


def chosen_layers(graph: TypedGraph, ranges: Ranges, *, unsigned: bool = False) -> list[Layer]:
    """Return the layers to quantise.

    Args:
        graph: The float deploy graph.
        ranges: Kinds of layers to quantise, and names of those that stay in float.
        unsigned: Whether activations behind ReLU and ReLU6 are uint8; False by default.

    Raises:
        ConfigError: Unknown layer in `ranges.float_layers`, or no layer to quantise.
    """
    check_layers(graph, ranges.float_layers)
    chained = {name for name, node in graph.nodes.items() if unsigned and any(map(is_activation, node.successors()))}
    chosen = [
        layer
        for layer in graph.layers
        if (layer.kind in ranges.layer_kinds or (layer.kind == "depthwise" and layer.name in chained))
        and layer.name not in ranges.float_layers
    ]
    if not chosen:
        raise ConfigError("no layer would be int8; build the model with --precision fp32 instead")
    return chosen


def quantize_graph(graph: TypedGraph, ranges: Ranges, *, unsigned: bool = False) -> TypedGraph:
    """Quantise the chosen layers of a graph; equal ranges give equal graphs.

    Args:
        graph: The fp32 or fp16 deploy graph, which is not changed.
        ranges: Ranges of the same checkpoint, with the layers that stay in float.
        unsigned: Whether activations behind ReLU and ReLU6 are uint8, as engines with `unsigned_int8` accept; False by
            default.

    Raises:
        ConfigError: Float layer that is not in the graph.
        DataError: Tensor of the graph without a range.
    """
    quantized = TypedGraph(graph.model.clone())
    model, places, weighted = quantized.model, Places(), list[ir.Node]()
    for layer in chosen_layers(graph, ranges, unsigned=unsigned):
        node = quantized.nodes[layer.name]
        for index in layer.inputs:
            _choose_input(places, node, index)
        if layer.kind != "attention":
            weighted.append(node)
        if node.op_type == "Conv":
            _choose_output(places, node)
    for (node, index), source in places.items():
        _insert_pair(model, node, index, source, ranges.magnitude(name_of(source)))
    dequantized = [_quantize_weight_of(model, node) for node in weighted]
    model.graph.insert_before(model.graph[0], dequantized)
    if unsigned:
        make_unsigned(model.graph)
    return TypedGraph(model)


def quantize_weight(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Quantise a weight.

    Args:
        weight: Values in float16 or float32.
        axis: Axis of the output channels.

    Returns:
        The int8 weight, and one scale per output channel, of the weight's type.
    """
    dtype, weight = weight.dtype, weight.astype(np.float64)
    others = tuple(index for index in range(weight.ndim) if index != axis)
    scales = np.maximum(np.abs(weight).max(axis=others, keepdims=True), MIN_MAGNITUDE) / LEVELS
    scales = np.maximum(scales, np.finfo(dtype).tiny)  # a scale of 0, of a channel of zeros, is refused by TensorRT
    quantized = np.clip(np.rint(weight / scales), -LEVELS, LEVELS).astype(np.int8)
    return quantized, scales.ravel().astype(dtype)


def _choose_input(places: Places, node: ir.Node, index: int) -> None:
    """Choose a node's input for a pair, and the input of the first node that rearranges it."""
    value = input_of(node, index)
    places[node, index] = origin(value)
    if (move := first_move(value)) is not None:
        places[move, 0] = origin(value)


def _choose_output(places: Places, node: ir.Node) -> None:
    """Choose a node's output at each consumer; if the consumer is an addition, its other operand too."""
    for consumer, index in node.outputs[0].uses():
        places[consumer, index] = node.outputs[0]
        if consumer.op_type == "Add" and not input_of(consumer, 1 - index).is_initializer():
            _choose_input(places, consumer, 1 - index)


def _insert_pair(model: ir.Model, consumer: ir.Node, index: int, source: ir.Value, magnitude: float) -> None:
    """Insert a pair before its consumer.

    Args:
        model: The model to change.
        consumer: Node that reads the pair.
        index: Position of its input.
        source: Value that the scale is named after.
        magnitude: Value that is quantised to 127.
    """
    value = input_of(consumer, index)
    scale = _add_scale(model, value, source, magnitude)
    zero = add_constant(model.graph, "int8_zero", np.array(0, np.int8))
    place = f"{consumer.name}[{index}]"
    quantized = ir.Value(name=f"quantized {place}", type=ir.TensorType(ir.DataType.INT8), shape=value.shape)
    dequantized = ir.Value(name=f"dequantized {place}", type=value.type, shape=value.shape)
    pair = (
        ir.node("QuantizeLinear", [value, scale, zero], outputs=[quantized], name=f"quantize {place}"),
        ir.node("DequantizeLinear", [quantized, scale, zero], outputs=[dequantized], name=f"dequantize {place}"),
    )
    model.graph.insert_before(consumer, pair)
    consumer.replace_input_with(index, dequantized)


def _add_scale(model: ir.Model, value: ir.Value, source: ir.Value, magnitude: float) -> ir.Value:
    """Add the scale of an activation as a constant of the activation's element type."""
    scale = np.array(max(magnitude, MIN_MAGNITUDE) / LEVELS, np.float32)
    if value.dtype != ir.DataType.FLOAT16:
        return add_constant(model.graph, f"{source.name}.scale", scale)
    _allow_half_scales(model)
    # Below its smallest normal value, a float16 scale would be inexact or zero; no activation needs one so small.
    half = np.maximum(scale, np.finfo(np.float16).tiny).astype(np.float16)
    return add_constant(model.graph, f"{source.name}.scale_half", half)


def _quantize_weight_of(model: ir.Model, layer: ir.Node) -> ir.Node:
    """Return the node that dequantises a new int8 weight, and connect the layer to it."""
    weight = input_of(layer, 1)
    stored, name, axis = array_of(weight), name_of(weight), _output_axis(layer)
    values, scales = quantize_weight(stored, axis)
    if stored.dtype == np.float16:
        _allow_half_scales(model)
    inputs = [
        add_constant(model.graph, f"{name}.int8", values),
        add_constant(model.graph, f"{name}.scale", scales),
        # Not shared: OpenVINO runs a linear layer in float if another weight uses the same zero points.
        add_constant(model.graph, f"{name}.zeros", np.zeros(len(scales), np.int8)),
    ]
    dequantized = ir.Value(name=f"{name}.dequantized", type=weight.type, shape=weight.shape)
    layer.replace_input_with(1, dequantized)
    if not weight.uses():
        model.graph.initializers.pop(name)
    return ir.node("DequantizeLinear", inputs, {"axis": axis}, outputs=[dequantized], name=f"dequantize {name}")


def _allow_half_scales(model: ir.Model) -> None:
    """Raise the opset to one with float16 scales, and mark the graph for ONNX Runtime's engine."""
    model.metadata_props[HALF_SCALES] = "yes"
    model.opset_imports[""] = max(model.opset_imports[""], HALF_SCALES_OPSET)


def _output_axis(layer: ir.Node) -> int:
    if layer.op_type == "Gemm":
        return 0 if layer.attributes.get_int("transB", 0) else 1
    return 0 if layer.op_type == "Conv" else 1
