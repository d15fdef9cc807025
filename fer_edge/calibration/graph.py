"""Producer, consumer and shape lookups on an ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from fer_edge.choices import LayerKind
from fer_edge.errors import EngineError

# Operators that only rearrange values: their input and output have the same range.
MOVES = ("Transpose", "Reshape", "Slice", "Squeeze", "Unsqueeze", "Flatten")


@dataclass(frozen=True)
class Layer:
    """A node that multiplies: a convolution or a matrix product."""

    name: str  # of the node
    kind: LayerKind  # attention: product of two activations; head: no further layer between it and the outputs
    inputs: tuple[int, ...]  # positions of the inputs that are activations
    macs: int  # multiply-accumulates for one image


@dataclass
class Graph:
    """ONNX model with lookup tables of its nodes and tensors."""

    model: onnx.ModelProto
    nodes: dict[str, onnx.NodeProto] = field(init=False)  # by name
    constants: dict[str, onnx.TensorProto] = field(init=False)  # initializers by name
    producers: dict[str, onnx.NodeProto] = field(init=False)  # by output tensor
    consumers: dict[str, list[tuple[onnx.NodeProto, int]]] = field(init=False)  # tensor -> nodes and input positions
    shapes: dict[str, tuple[int, ...]] = field(init=False)  # for a batch of one
    types: dict[str, int] = field(init=False)  # TensorProto.DataType

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.nodes = {node.name: node for node in graph.node}
        if len(self.nodes) != len(graph.node):
            raise EngineError("several nodes of the graph share a name; expected a deploy graph exported by fer-edge")
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.producers = {output: node for node in graph.node for output in node.output}
        self.consumers = {}
        for node in graph.node:
            for index, tensor in enumerate(node.input):
                self.consumers.setdefault(tensor, []).append((node, index))
        self.shapes, self.types = _shapes_and_types(self.model)

    @classmethod
    def parse(cls, model: bytes) -> Graph:
        """Parse a serialised model."""
        return cls(onnx.load_from_string(model))

    def array(self, name: str) -> npt.NDArray[np.generic]:
        """Return the values of a constant."""
        return numpy_helper.to_array(self.constants[name])

    def source(self, tensor: str) -> str:
        """Return the tensor that `tensor` is a rearranged or rounded copy of, or `tensor` itself."""
        while (node := self.producers.get(tensor)) is not None and node.op_type in (*MOVES, "Cast"):
            tensor = node.input[0]
        return tensor

    def moves_before(self, tensor: str) -> list[onnx.NodeProto]:
        """Return the chain of rearranging nodes that ends in a tensor, in execution order."""
        moves: list[onnx.NodeProto] = []
        while (node := self.producers.get(tensor)) is not None and node.op_type in MOVES:
            moves.insert(0, node)
            tensor = node.input[0]
        return moves

    def activations(self) -> list[str]:
        """Return the floating-point outputs of all nodes that do more than rearrange, in the graph's order."""
        floating = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
        return [
            output
            for node in self.model.graph.node
            if node.op_type not in MOVES
            for output in node.output
            if self.types.get(output) in floating
        ]

    def layers(self) -> list[Layer]:
        """Return every convolution and matrix product, in the graph's order."""
        nodes = [node for node in self.model.graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
        names = {node.name for node in nodes}
        return [self._layer(node, names) for node in nodes]

    def _layer(self, node: onnx.NodeProto, layer_names: set[str]) -> Layer:
        inputs = tuple(index for index, tensor in enumerate(node.input[:2]) if not self._is_constant(tensor))
        if len(inputs) == 2:
            kind: LayerKind = "attention"
        elif not self._feeds_layer(node, layer_names):
            kind = "head"
        else:
            kind = _kind_by_weight(node)
        return Layer(node.name, kind, inputs, self._macs(node))

    def _is_constant(self, tensor: str) -> bool:
        """Return whether a factor is a weight, quantised or not."""
        node = self.producers.get(tensor)
        stored = tensor if node is None or node.op_type != "DequantizeLinear" else node.input[0]
        return stored in self.constants

    def _feeds_layer(self, node: onnx.NodeProto, layer_names: set[str]) -> bool:
        """Return whether another layer follows a node, directly or not."""
        waiting, visited = [consumer for consumer, _ in self.consumers.get(node.output[0], [])], set()
        while waiting:
            consumer = waiting.pop()
            if consumer.name in layer_names:
                return True
            if consumer.name not in visited:
                visited.add(consumer.name)
                waiting += [follower for output in consumer.output for follower, _ in self.consumers.get(output, [])]
        return False

    def _macs(self, node: onnx.NodeProto) -> int:
        """Count the multiply-accumulates: elements of the output times products summed into each."""
        outputs = int(np.prod(self.shapes[node.output[0]]))
        factor = self.shapes[node.input[1]]
        if node.op_type == "Conv":
            return outputs * int(np.prod(factor[1:]))  # (out, in / groups, height, width)
        return outputs * self.shapes[node.input[0]][-1]


def _kind_by_weight(node: onnx.NodeProto) -> LayerKind:
    if node.op_type != "Conv":
        return "linear"
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    return "conv" if groups == 1 else "depthwise"


def _shapes_and_types(model: onnx.ModelProto) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Infer shape, for a batch of one, and element type of every tensor."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = [*graph.input, *graph.output, *graph.value_info]
    shapes = {
        value.name: tuple(size.dim_value or 1 for size in value.type.tensor_type.shape.dim) for value in values
    } | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return shapes, types | {tensor.name: tensor.data_type for tensor in graph.initializer}
