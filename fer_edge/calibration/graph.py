"""What an ONNX graph is asked while it is quantised: who makes a tensor, who reads it, how large it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from fer_edge.errors import EngineError

# They only move values about, so their input and output have one range.
MOVES = ("Transpose", "Reshape", "Slice", "Squeeze", "Unsqueeze", "Flatten")
Kind = Literal["conv", "depthwise", "linear", "attention", "head"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Layer:
    """A node that multiplies."""

    name: str  # of the node
    kind: Kind  # attention: both factors are activations; head: nothing but outputs behind it
    inputs: tuple[int, ...]  # which inputs are activations
    macs: int  # multiplications for one image


@dataclass
class Graph:
    """An ONNX model with its tensors looked up."""

    model: onnx.ModelProto
    nodes: dict[str, onnx.NodeProto] = field(init=False)
    constants: dict[str, onnx.TensorProto] = field(init=False)
    makers: dict[str, onnx.NodeProto] = field(init=False)  # tensor -> node
    readers: dict[str, list[tuple[onnx.NodeProto, int]]] = field(init=False)  # tensor -> nodes and input positions
    shapes: dict[str, tuple[int, ...]] = field(init=False)  # for one image
    types: dict[str, int] = field(init=False)  # TensorProto.DataType

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.nodes = {node.name: node for node in graph.node}
        if len(self.nodes) != len(graph.node):
            raise EngineError("the graph has nodes of one name; expected the deploy graph as fer-edge exports it")
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.makers = {output: node for node in graph.node for output in node.output}
        self.readers = {}
        for node in graph.node:
            for index, tensor in enumerate(node.input):
                self.readers.setdefault(tensor, []).append((node, index))
        self.shapes, self.types = _shapes(self.model)

    @classmethod
    def parse(cls, model: bytes) -> Graph:
        """Look a serialised model up."""
        return cls(onnx.load_from_string(model))

    def array(self, name: str) -> npt.NDArray[np.generic]:
        """A constant's values."""
        return numpy_helper.to_array(self.constants[name])

    def origin(self, tensor: str) -> str:
        """The tensor that this one is a rearrangement of, or a rounding to half; itself, if it is neither."""
        while (maker := self.makers.get(tensor)) is not None and maker.op_type in (*MOVES, "Cast"):
            tensor = maker.input[0]
        return tensor

    def moves_of(self, tensor: str) -> list[onnx.NodeProto]:
        """The rearrangements that end in a tensor, the first one first."""
        moves: list[onnx.NodeProto] = []
        while (maker := self.makers.get(tensor)) is not None and maker.op_type in MOVES:
            moves.insert(0, maker)
            tensor = maker.input[0]
        return moves

    def activations(self) -> list[str]:
        """Floating-point tensors that nodes make and that are no mere rearrangement, in the graph's order."""
        floating = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
        return [
            output
            for node in self.model.graph.node
            if node.op_type not in MOVES
            for output in node.output
            if self.types.get(output) in floating
        ]

    def layers(self) -> list[Layer]:
        """Every node that multiplies tensors, in the graph's order."""
        found = [node for node in self.model.graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
        return [self._layer(node, {other.name for other in found}) for node in found]

    def _layer(self, node: onnx.NodeProto, multiplying: set[str]) -> Layer:
        inputs = tuple(index for index, tensor in enumerate(node.input[:2]) if not self._is_constant(tensor))
        if len(inputs) == 2:
            kind: Kind = "attention"
        elif not self._reaches(node, multiplying):
            kind = "head"
        else:
            kind = _weighted_kind(node)
        return Layer(node.name, kind, inputs, self._macs(node))

    def _is_constant(self, tensor: str) -> bool:
        """Whether a factor is a weight, quantised or not."""
        maker = self.makers.get(tensor)
        stored = tensor if maker is None or maker.op_type != "DequantizeLinear" else maker.input[0]
        return stored in self.constants

    def _reaches(self, node: onnx.NodeProto, multiplying: set[str]) -> bool:
        """Whether another multiplying node stands behind this one."""
        waiting, seen = [reader for reader, _ in self.readers.get(node.output[0], [])], set()
        while waiting:
            reader = waiting.pop()
            if reader.name in multiplying:
                return True
            if reader.name not in seen:
                seen.add(reader.name)
                waiting += [other for output in reader.output for other, _ in self.readers.get(output, [])]
        return False

    def _macs(self, node: onnx.NodeProto) -> int:
        """Products summed into each output, times outputs."""
        outputs = int(np.prod(self.shapes[node.output[0]]))
        factor = self.shapes[node.input[1]]
        if node.op_type == "Conv":
            return outputs * int(np.prod(factor[1:]))  # (out, in / groups, height, width)
        return outputs * self.shapes[node.input[0]][-1]


def _weighted_kind(node: onnx.NodeProto) -> Kind:
    if node.op_type != "Conv":
        return "linear"
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    return "conv" if groups == 1 else "depthwise"


def _shapes(model: onnx.ModelProto) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Shapes, with the batch axis as one image, and element types of every tensor."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = [*graph.input, *graph.output, *graph.value_info]
    shapes = {
        value.name: tuple(size.dim_value or 1 for size in value.type.tensor_type.shape.dim) for value in values
    } | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return shapes, types | {tensor.name: tensor.data_type for tensor in graph.initializer}
