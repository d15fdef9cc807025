"""The typed ONNX graph of a model, and its layers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
import onnx_ir as ir

from fer_edge.choices import LayerKind
from fer_edge.errors import EngineError

# Operators that only rearrange values: their input and output have the same range.
MOVES = ("Transpose", "Reshape", "Slice", "Squeeze", "Unsqueeze", "Flatten")
FLOATING = (ir.DataType.FLOAT, ir.DataType.FLOAT16)
EXPORTED = "fer_edge.exported"  # mark of nodes and values of the exporter; others were added by rewrites


@dataclass(frozen=True)
class Layer:
    """A node that multiplies: a convolution or a matrix product."""

    name: str  # of the node
    kind: LayerKind  # attention: product of two activations; head: no further layer between it and the outputs
    inputs: tuple[int, ...]  # positions of the inputs that are activations
    macs: int  # multiply-accumulates for one image


class TypedGraph:
    """A model whose nodes have unique names and whose values have a type and a shape.

    It is not changed after its construction: `quantize_graph` and `split_prelus` return another one.

    Args:
        model: The model.
        data: Its serialised form, if there is one.

    Raises:
        EngineError: Several nodes with one name.
    """

    def __init__(self, model: ir.Model, data: bytes | None = None) -> None:
        self.model = model
        self.nodes = {name_of(node): node for node in model.graph}
        self._data = data
        if len(self.nodes) != len(model.graph):
            raise EngineError("several nodes of the graph share a name; expected a deploy graph exported by fer-edge")

    @classmethod
    def parse(cls, data: bytes) -> TypedGraph:
        """Parse a serialised model, and infer type and shape of its values."""
        return cls(ir.from_proto(onnx.shape_inference.infer_shapes(data, data_prop=True)), data)

    def to_bytes(self) -> bytes:
        """Return the serialised model, equal for equal graphs, after ONNX's checks; serialised once.

        Raises:
            EngineError: Graph that ONNX's checker refuses.
        """
        if self._data is None:
            data: bytes = self._to_proto().SerializeToString(deterministic=True)
            try:
                onnx.checker.check_model(data, full_check=True)
            except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
                raise EngineError(f"the exported graph is not valid ONNX: {error}") from error
            self._data = data
        return self._data

    def with_outputs(self, names: Iterable[str]) -> bytes:
        """Return the serialised model with inner tensors as additional outputs.

        Raises:
            EngineError: A tensor that is not the output of a node.
        """
        produced = {name_of(value): value for node in self.model.graph for value in node.outputs}
        proto = self._to_proto()
        present = {value.name for value in proto.graph.output}
        for name in names:
            if name not in produced:
                raise EngineError(
                    f"the graph has no tensor {name}; it was exported by another version, or is of another model"
                )
            if name not in present:
                proto.graph.output.append(ir.to_proto(produced[name]))
        return bytes(proto.SerializeToString())

    def _to_proto(self) -> onnx.ModelProto:
        """Convert the model, byte by byte as earlier releases did.

        Only what the exporter made has an empty description, and a declared type unless the graph is quantised.
        Metadata are in order of insertion, which onnx_ir sorts.
        """
        proto, nodes = ir.to_proto(self.model), self.model.graph
        graph = proto.graph
        exported_nodes = {node.name for node in nodes if EXPORTED in node.meta}
        exported = {value.name for value in values_of(nodes) if EXPORTED in value.meta}
        types = [] if "QuantizeLinear" in self.operator_types() else [*graph.value_info]
        del graph.value_info[:]
        graph.value_info.extend(info for info in types if info.name in exported)
        described = [node for node in graph.node if node.name in exported_nodes]
        values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
        for item in (proto, graph, *described, *(value for value in values if value.name in exported)):
            item.doc_string = ""
        onnx.helper.set_model_props(proto, self.model.metadata_props)
        return proto

    def float_tensors(self) -> list[ir.Value]:
        """Return the floating-point outputs of all nodes, in the graph's order."""
        return [value for node in self.model.graph for value in node.outputs if value.dtype in FLOATING]

    def activations(self) -> list[ir.Value]:
        """Return the floating-point outputs of all nodes that do more than rearrange, in the graph's order."""
        return [value for value in self.float_tensors() if not _moves(value.producer())]

    def operator_types(self) -> dict[str, dict[str, int]]:
        """Count the nodes by operator type, and by element type of their first output."""
        operators: dict[str, Counter[str]] = {}
        for node in self.model.graph:
            element = (node.outputs[0].dtype or ir.DataType.UNDEFINED).name.lower()
            operators.setdefault(node.op_type, Counter())[element] += 1
        return {name: dict(sorted(counts.items())) for name, counts in sorted(operators.items())}

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every convolution and matrix product, in the graph's order."""
        return tuple(_layer(node) for node in self.model.graph if _multiplies(node))


def name_of(item: ir.Node | ir.Value) -> str:
    """Return the name of a node or value; an empty text without one."""
    return item.name or ""


def values_of(graph: ir.Graph) -> list[ir.Value]:
    """Return inputs, constants and node outputs of a graph."""
    return [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]


def input_of(node: ir.Node, index: int) -> ir.Value:
    """Return an input of a node that is not left out."""
    value = node.inputs[index]
    assert value is not None
    return value


def array_of(value: ir.Value) -> np.ndarray:
    """Return the values of a constant."""
    assert value.const_value is not None
    return value.const_value.numpy()


def add_constant(graph: ir.Graph, name: str, values: np.ndarray) -> ir.Value:
    """Add a constant to a graph unless it has one of this name, and return it."""
    if name not in graph.initializers:
        graph.initializers.add(ir.Value(name=name, const_value=ir.tensor(values)))
    return graph.initializers[name]


def origin(value: ir.Value) -> ir.Value:
    """Return the value that another one is a rearranged or rounded copy of, or the value itself."""
    while (node := value.producer()) is not None and (_moves(node) or node.op_type == "Cast"):
        value = input_of(node, 0)
    return value


def first_move(value: ir.Value) -> ir.Node | None:
    """Return the first of the rearranging nodes in a row that ends in a value, or None without one."""
    first = None
    while (node := value.producer()) is not None and _moves(node):
        first, value = node, input_of(node, 0)
    return first


def _moves(node: ir.Node | None) -> bool:
    return node is not None and node.op_type in MOVES


def _multiplies(node: ir.Node) -> bool:
    return node.op_type in ("Conv", "MatMul", "Gemm")


def _layer(node: ir.Node) -> Layer:
    inputs = tuple(index for index in (0, 1) if not _is_weight(input_of(node, index)))
    if len(inputs) == 2:
        kind: LayerKind = "attention"
    elif not _feeds_layer(node):
        kind = "head"
    elif node.op_type != "Conv":
        kind = "linear"
    else:
        kind = "conv" if node.attributes.get_int("group", 1) == 1 else "depthwise"
    return Layer(name_of(node), kind, inputs, _macs(node))


def _is_weight(factor: ir.Value) -> bool:
    """Return whether a factor is a weight, quantised or not."""
    node = factor.producer()
    stored = input_of(node, 0) if node is not None and node.op_type == "DequantizeLinear" else factor
    return stored.is_initializer()


def _feeds_layer(node: ir.Node) -> bool:
    """Return whether another layer follows a node, directly or not."""
    waiting, visited = list(node.successors()), set()
    while waiting:
        follower = waiting.pop()
        if _multiplies(follower):
            return True
        if follower not in visited:
            visited.add(follower)
            waiting += follower.successors()
    return False


def _macs(node: ir.Node) -> int:
    """Count the multiply-accumulates: elements of the output times products summed into each."""
    outputs = math.prod(_sizes(node.outputs[0]))
    if node.op_type == "Conv":
        return outputs * math.prod(_sizes(input_of(node, 1))[1:])  # (out, in / groups, height, width)
    return outputs * _sizes(input_of(node, 0))[-1]


def _sizes(value: ir.Value) -> list[int]:
    """Return the shape of a value for a batch of one."""
    if value.shape is None:
        raise EngineError(f"the shape of {value.name} is unknown; expected a deploy graph exported by fer-edge")
    return [size if isinstance(size, int) else 1 for size in value.shape]
