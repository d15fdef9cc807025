"""Forms of PReLUs in the typed graph: with slopes of their own, and as `max(x, slope * x)` in float32 graphs.

ONNX Runtime's PReLU kernel takes ten times as long as a multiplication and a maximum: a third of the time of `edge-ir`.
OpenVINO fuses PReLUs into convolutions, so its engine restores them.
"""

from __future__ import annotations

import onnx_ir as ir

from fer_edge.graph.typed_graph import EXPORTED, TypedGraph, add_constant, array_of, input_of, name_of


def separate_slopes(graph: ir.Graph) -> None:
    """Give every PReLU a slope tensor of its own.

    The exporter merges equal tensors, such as untrained slopes; OpenVINO fuses a PReLU into the preceding convolution
    only if the slope has no other consumer.
    """
    used: set[ir.Value] = set()
    for node in graph:
        if node.op_type != "PRelu" or not input_of(node, 1).is_initializer():
            continue
        slope = input_of(node, 1)
        if slope in used:
            slope = add_constant(graph, f"{slope.name}_of_{node.outputs[0].name}", array_of(slope))
            node.replace_input_with(1, slope)
        used.add(slope)


def split_prelus(graph: TypedGraph) -> TypedGraph:
    """Replace every PReLU whose slopes are all at most 1, where both forms are equal; tensors keep their names."""
    model = graph.model.clone()
    for node in model.graph:
        if node.op_type != "PRelu" or (array_of(input_of(node, 1)) > 1).any():
            continue
        (output,) = node.outputs
        negative = ir.Value(name=f"{node.name}.negative", type=output.type, shape=output.shape)
        model.graph.insert_before(node, ir.node("Mul", node.inputs, outputs=[negative], name=name_of(negative)))
        node.op_type = "Max"
        node.meta.pop(EXPORTED, None)
        node.replace_input_with(1, negative)
    return TypedGraph(model)
