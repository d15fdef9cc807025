"""The int8 graph: explicit QuantizeLinear and DequantizeLinear pairs, from the float graph and its ranges.

Quantisation is symmetric int8 with zero point 0: one scale per output channel of a weight, one scale per activation
tensor. TensorRT requires this form, and OpenVINO and ONNX Runtime fuse it. Speed depends on the places of the pairs:

- at the inputs of each int8 layer; if the input is a rearranged tensor, also before the rearranging nodes, so that
  they move bytes;
- behind each int8 convolution, even if a PReLU or an addition follows: ONNX Runtime has no int8 convolution with float
  output, and OpenVINO fuses the pair, and the operators that follow, into the convolution;
- at the other operand of an addition that follows an int8 convolution, so that the addition is fused too.

Depthwise convolutions stay in float by default: they are limited by memory bandwidth, and OpenVINO has int8 kernels for
some widths only.

Every consumer has a pair of its own: ONNX Runtime converts int8 to uint8, which its fast kernels need, only for tensors
with one consumer. The other engines accept both forms.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fer_edge.calibration.graph import Graph, Layer
from fer_edge.calibration.ranges import Ranges
from fer_edge.engines.base import HALF_SCALES
from fer_edge.errors import ConfigError

LEVELS = 127  # positive int8 levels
MIN_MAGNITUDE = 1e-12  # gives channels and tensors of zeros a valid scale
HALF_SCALES_OPSET = 19  # first opset that allows float16 scales


def chosen_layers(graph: Graph, ranges: Ranges) -> list[Layer]:
    """Return the layers to quantise.

    Raises:
        ConfigError: Unknown layer in `ranges.float_layers`, or no layer to quantise.
    """
    layers = graph.layers()
    unknown = sorted(set(ranges.float_layers) - {layer.name for layer in layers})
    if unknown:
        raise ConfigError(
            f"no layer {unknown[0]} in the graph; expected float_layers to name some of its {len(layers)} layers"
        )
    chosen = [layer for layer in layers if layer.kind in ranges.layer_kinds and layer.name not in ranges.float_layers]
    if not chosen:
        raise ConfigError("no layer would be int8; build the model with --precision fp32 instead")
    return chosen


def quantize_graph(model: bytes, ranges: Ranges) -> bytes:
    """Quantise the chosen layers of a graph; equal ranges give equal bytes.

    Args:
        model: The fp32 or fp16 deploy graph.
        ranges: Ranges of the same checkpoint, with the layers that stay in float.

    Returns:
        The int8 graph, checked.

    Raises:
        ConfigError: Float layer that is not in the graph.
        DataError: Tensor of the graph without a range.
    """
    graph = Graph.parse(model)
    writer = _Writer(graph, ranges)
    for layer in chosen_layers(graph, ranges):
        node = graph.nodes[layer.name]
        for index in layer.inputs:
            writer.quantize_input(node, index)
        if layer.kind != "attention":
            writer.quantize_weight(node)
        if node.op_type == "Conv":
            writer.quantize_output(node)
    return writer.finish()


@dataclass
class _Writer:
    """Collector of the pairs, which it then inserts into the graph."""

    graph: Graph
    ranges: Ranges
    # Consumer and input position -> tensor whose range is used. A dictionary, since several layers may need one pair.
    pairs: dict[tuple[str, int], str] = field(default_factory=dict)
    weights: list[str] = field(default_factory=list)  # names of the nodes with int8 weights

    def quantize_input(self, node: onnx.NodeProto, index: int) -> None:
        """Add a pair at a node's input, and one before the first node that rearranges this input."""
        tensor = node.input[index]
        source = self.graph.source(tensor)
        self.pairs[node.name, index] = source
        for move in self.graph.moves_before(tensor)[:1]:
            self.pairs[move.name, 0] = source

    def quantize_weight(self, node: onnx.NodeProto) -> None:
        """Add an int8 weight."""
        self.weights.append(node.name)

    def quantize_output(self, node: onnx.NodeProto) -> None:
        """Add a pair between a node and each consumer, and one at the other operand if the consumer is an addition."""
        for consumer, index in self.graph.consumers.get(node.output[0], []):
            self.pairs[consumer.name, index] = node.output[0]
            if consumer.op_type == "Add" and consumer.input[1 - index] not in self.graph.constants:
                self.quantize_input(consumer, 1 - index)

    def finish(self) -> bytes:
        """Insert the pairs into the graph, and return the serialised model after ONNX's checks."""
        proto = self.graph.model.graph
        before: dict[str, list[onnx.NodeProto]] = {}  # consumer -> nodes to insert before it
        for (consumer, index), source in self.pairs.items():
            before.setdefault(consumer, []).extend(self._make_pair(self.graph.nodes[consumer], index, source))
        dequantized = [self._make_weight(self.graph.nodes[name]) for name in self.weights]
        nodes = [new for node in proto.node for new in (*before.get(node.name, []), node)]
        del proto.node[:]
        proto.node.extend([*dequantized, *nodes])
        used = {tensor for node in proto.node for tensor in node.input}
        constants = [tensor for tensor in proto.initializer if tensor.name in used]
        del proto.initializer[:], proto.value_info[:]
        proto.initializer.extend(constants)
        onnx.checker.check_model(self.graph.model, full_check=True)
        return self.graph.model.SerializeToString(deterministic=True)

    def _make_pair(self, consumer: onnx.NodeProto, index: int, source: str) -> list[onnx.NodeProto]:
        """Return a new pair, to be inserted before its consumer, and connect the consumer to it."""
        tensor = consumer.input[index]
        scale = self._add_scale(source, self.graph.types.get(tensor, TensorProto.FLOAT))
        zero = self._add_constant("int8_zero", np.array(0, np.int8))
        place = f"{consumer.name}[{index}]"
        consumer.input[index] = f"dequantized {place}"
        return [
            helper.make_node("QuantizeLinear", [tensor, scale, zero], [f"quantized {place}"], f"quantize {place}"),
            helper.make_node(
                "DequantizeLinear",
                [f"quantized {place}", scale, zero],
                [f"dequantized {place}"],
                f"dequantize {place}",
            ),
        ]

    def _add_scale(self, source: str, element: int) -> str:
        """Add the scale of an activation as a constant of the activation's element type, and return its name."""
        value = np.array(max(self.ranges.magnitude(source), MIN_MAGNITUDE) / LEVELS, np.float32)
        if element == TensorProto.FLOAT:
            return self._add_constant(f"{source}.scale", value)
        self._allow_half_scales()
        # Below its smallest normal value, a float16 scale would be inexact or zero; no activation needs one so small.
        half = np.maximum(value, np.finfo(np.float16).tiny).astype(np.float16)
        return self._add_constant(f"{source}.scale_half", half)

    def _make_weight(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """Return the node that dequantises a new int8 weight, and connect the layer to it."""
        name = node.input[1]
        stored = self.graph.array(name)
        axis = _output_axis(node)
        quantized, scales = quantize_weight(stored.astype(np.float64), axis)
        if stored.dtype == np.float16:
            self._allow_half_scales()
        inputs = [
            self._add_constant(f"{name}.int8", quantized),
            self._add_constant(f"{name}.scale", scales.astype(stored.dtype)),
            # Not shared: OpenVINO runs a linear layer in float if another weight uses the same zero points.
            self._add_constant(f"{name}.zeros", np.zeros(len(scales), np.int8)),
        ]
        node.input[1] = f"{name}.dequantized"
        return helper.make_node("DequantizeLinear", inputs, [node.input[1]], f"dequantize {name}", axis=axis)

    def _add_constant(self, name: str, values: np.ndarray) -> str:
        """Add a constant unless the graph has it, and return its name."""
        if name not in self.graph.constants:
            tensor = self.graph.model.graph.initializer.add()
            tensor.CopyFrom(numpy_helper.from_array(values, name))
            self.graph.constants[name] = tensor
        return name

    def _allow_half_scales(self) -> None:
        """Raise the opset to one with float16 scales, and mark the graph for ONNX Runtime's engine."""
        properties = self.graph.model.metadata_props
        if HALF_SCALES not in {entry.key for entry in properties}:
            properties.add(key=HALF_SCALES, value="yes")
        for opset in self.graph.model.opset_import:
            if opset.domain in ("", "ai.onnx"):
                opset.version = max(opset.version, HALF_SCALES_OPSET)


def quantize_weight(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Quantise a weight.

    Args:
        weight: Values in float64.
        axis: Axis of the output channels.

    Returns:
        The int8 weight, and one scale per output channel.
    """
    others = tuple(index for index in range(weight.ndim) if index != axis)
    scales = np.maximum(np.abs(weight).max(axis=others, keepdims=True), MIN_MAGNITUDE) / LEVELS
    quantized = np.clip(np.rint(weight / scales), -LEVELS, LEVELS).astype(np.int8)
    return quantized, scales.ravel()


def _output_axis(node: onnx.NodeProto) -> int:
    if node.op_type == "Gemm":
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        return 0 if transposed else 1
    return 0 if node.op_type == "Conv" else 1
