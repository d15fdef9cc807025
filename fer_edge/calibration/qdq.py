"""The int8 graph: explicit QuantizeLinear and DequantizeLinear pairs, from the float graph and its ranges.

Int8, symmetric, zero point 0: a weight has a scale for each output channel, an activation one for the tensor. That
is what TensorRT accepts, and OpenVINO and ONNX Runtime fuse. Where the pairs stand is what makes them fast:

- on what an int8 layer multiplies; if that is a rearranged tensor, also before the rearranging, so that bytes move;
- behind each int8 convolution, although a PReLU or an addition follows: ONNX Runtime has no int8 convolution that
  ends in float, and OpenVINO takes the pair into the convolution, with what follows;
- on the other operand of an addition that ends an int8 convolution, so that the addition fuses too.

Depthwise convolutions stay in float unless asked for: memory is what they wait for, and OpenVINO has an int8 kernel
for some widths only.

Every reader has a pair of its own: ONNX Runtime turns int8 into the uint8 that its fast kernels want only where one
reader follows, and other engines do not mind.
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

LEVELS = 127
SMALLEST = 1e-12  # of a magnitude: channels that are all zero have a scale too
HALF_SCALES_OPSET = 19  # from here on, scales may be float16


def chosen_layers(graph: Graph, ranges: Ranges) -> list[Layer]:
    """The layers that become int8.

    Raises:
        ConfigError: A layer to be kept in float is not in the graph, or none would be int8.
    """
    layers = graph.layers()
    unknown = sorted(set(ranges.kept) - {layer.name for layer in layers})
    if unknown:
        raise ConfigError(f"no layer {unknown[0]} to keep in float; expected some of the graph's {len(layers)} layers")
    chosen = [layer for layer in layers if layer.kind in ranges.kinds and layer.name not in ranges.kept]
    if not chosen:
        raise ConfigError("no layer would be int8; build the model with --precision fp32 instead")
    return chosen


def quantize_graph(model: bytes, ranges: Ranges) -> bytes:
    """The graph with the chosen layers in int8; equal ranges give equal bytes.

    Args:
        model: The fp32 or fp16 deploy graph.
        ranges: Of the same checkpoint; they also say which layers stay in float.

    Raises:
        ConfigError: The ranges name layers that the graph does not have.
        DataError: The ranges lack a tensor of the graph.
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
    """Collects pairs, then writes them all."""

    graph: Graph
    ranges: Ranges
    # Reader and position -> tensor whose range counts. A dictionary, since layers ask for the same pair.
    pairs: dict[tuple[str, int], str] = field(default_factory=dict)
    weights: list[str] = field(default_factory=list)  # of nodes

    def quantize_input(self, node: onnx.NodeProto, index: int) -> None:
        """A pair before a node's input, and before the first rearrangement that leads to it."""
        tensor = node.input[index]
        origin = self.graph.origin(tensor)
        self.pairs[node.name, index] = origin
        for move in self.graph.moves_of(tensor)[:1]:
            self.pairs[move.name, 0] = origin

    def quantize_weight(self, node: onnx.NodeProto) -> None:
        self.weights.append(node.name)

    def quantize_output(self, node: onnx.NodeProto) -> None:
        """A pair between a node and each of its readers; of an addition, the other operand gets one too."""
        for reader, index in self.graph.readers.get(node.output[0], []):
            self.pairs[reader.name, index] = node.output[0]
            if reader.op_type == "Add" and reader.input[1 - index] not in self.graph.constants:
                self.quantize_input(reader, 1 - index)

    def finish(self) -> bytes:
        """Write the pairs into the graph.

        Returns:
            The model, checked.
        """
        proto = self.graph.model.graph
        before: dict[str, list[onnx.NodeProto]] = {}  # reader -> nodes to stand before it
        for (reader, index), origin in self.pairs.items():
            before.setdefault(reader, []).extend(self._pair(self.graph.nodes[reader], index, origin))
        dequantized = [self._weight(self.graph.nodes[name]) for name in self.weights]
        nodes = [new for node in proto.node for new in (*before.get(node.name, []), node)]
        del proto.node[:]
        proto.node.extend([*dequantized, *nodes])
        used = {tensor for node in proto.node for tensor in node.input}
        constants = [tensor for tensor in proto.initializer if tensor.name in used]
        del proto.initializer[:], proto.value_info[:]
        proto.initializer.extend(constants)
        onnx.checker.check_model(self.graph.model, full_check=True)
        return self.graph.model.SerializeToString(deterministic=True)

    def _pair(self, reader: onnx.NodeProto, index: int, origin: str) -> list[onnx.NodeProto]:
        tensor = reader.input[index]
        scale = self._scale(origin, self.graph.types.get(tensor, TensorProto.FLOAT))
        zero = self._constant("int8_zero", np.array(0, np.int8))
        place = f"{reader.name}[{index}]"
        reader.input[index] = f"dequantized {place}"
        return [
            helper.make_node("QuantizeLinear", [tensor, scale, zero], [f"quantized {place}"], f"quantize {place}"),
            helper.make_node(
                "DequantizeLinear",
                [f"quantized {place}", scale, zero],
                [f"dequantized {place}"],
                f"dequantize {place}",
            ),
        ]

    def _scale(self, origin: str, element: int) -> str:
        """The scale of an activation, in the element type that its graph computes in."""
        value = np.array(max(self.ranges.magnitude(origin), SMALLEST) / LEVELS, np.float32)
        if element == TensorProto.FLOAT:
            return self._constant(f"{origin}.scale", value)
        self._allow_half_scales()
        # A half scale below its smallest normal value would be zero or crude; no activation needs one.
        half = np.maximum(value, np.finfo(np.float16).tiny).astype(np.float16)
        return self._constant(f"{origin}.scale_half", half)

    def _weight(self, node: onnx.NodeProto) -> onnx.NodeProto:
        name = node.input[1]
        stored = self.graph.array(name)
        axis = _output_axis(node)
        quantized, scales = quantize_weight(stored.astype(np.float64), axis)
        if stored.dtype == np.float16:
            self._allow_half_scales()
        inputs = [
            self._constant(f"{name}.int8", quantized),
            self._constant(f"{name}.scale", scales.astype(stored.dtype)),
            # Its own: OpenVINO computes a linear in float whose zeros another weight shares.
            self._constant(f"{name}.zeros", np.zeros(len(scales), np.int8)),
        ]
        node.input[1] = f"{name}.dequantized"
        return helper.make_node("DequantizeLinear", inputs, [node.input[1]], f"dequantize {name}", axis=axis)

    def _constant(self, name: str, values: np.ndarray) -> str:
        if name not in self.graph.constants:
            tensor = self.graph.model.graph.initializer.add()
            tensor.CopyFrom(numpy_helper.from_array(values, name))
            self.graph.constants[name] = tensor
        return name

    def _allow_half_scales(self) -> None:
        properties = self.graph.model.metadata_props
        if HALF_SCALES not in {entry.key for entry in properties}:
            properties.add(key=HALF_SCALES, value="yes")
        for opset in self.graph.model.opset_import:
            if opset.domain in ("", "ai.onnx"):
                opset.version = max(opset.version, HALF_SCALES_OPSET)


def quantize_weight(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """A weight as int8 and its scales, one for each output channel along `axis`."""
    others = tuple(index for index in range(weight.ndim) if index != axis)
    scales = np.maximum(np.abs(weight).max(axis=others, keepdims=True), SMALLEST) / LEVELS
    quantized = np.clip(np.rint(weight / scales), -LEVELS, LEVELS).astype(np.int8)
    return quantized, scales.ravel()


def _output_axis(node: onnx.NodeProto) -> int:
    if node.op_type == "Gemm":
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        return 0 if transposed else 1
    return 0 if node.op_type == "Conv" else 1
