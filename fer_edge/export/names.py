"""Names for the graph's nodes and tensors that come from the model: `blocks.0.attention.query/MatMul`.

The exporter counts (`node_MatMul_58`, `val_59`), and counts otherwise in every release. Activation ranges, sensitivity
and parity speak of tensors by name, so names must outlive an export: the module that a node comes from, and the
operator. A node's first output is called as the node.
"""

from __future__ import annotations

from ast import literal_eval
from collections import Counter

import onnx

SCOPES = "pkg.torch.onnx.name_scopes"  # where the exporter says which modules a node comes from
NUMBERED = "val_"  # how it begins the names of constants it made
WEIGHTED = ("Conv", "Gemm", "MatMul", "PRelu")


def name_by_module(graph: onnx.GraphProto) -> None:
    """Rename nodes, their outputs and the weights that the exporter numbered; inputs and outputs of the graph stay."""
    weights = {tensor.name for tensor in graph.initializer}
    fixed = {value.name for value in [*graph.input, *graph.output]}
    readers = Counter(tensor for node in graph.node for tensor in node.input)
    seen: Counter[str] = Counter()
    renamed: dict[str, str] = {}
    for node in graph.node:
        weight = node.input[1] if node.op_type in WEIGHTED and node.input[1] in weights else ""
        numbered = weight.startswith(NUMBERED)
        module = _module(node) or ("" if numbered else weight)
        name = "/".join(part for part in (module, node.op_type) if part)
        seen[name] += 1
        node.name = name if seen[name] == 1 else f"{name}.{seen[name]}"
        for index, output in enumerate(node.output):
            if output and output not in fixed:
                renamed[output] = node.name if index == 0 else f"{node.name}:{index}"
        if numbered and readers[weight] == 1 and f"{module}.weight" not in weights:
            renamed[weight] = f"{module}.weight"
    for node in graph.node:
        for names in (node.input, node.output):
            for index, tensor in enumerate(names):
                names[index] = renamed.get(tensor, tensor)
    for value in [*graph.value_info, *graph.initializer]:
        value.name = renamed.get(value.name, value.name)


def _module(node: onnx.NodeProto) -> str:
    """The innermost module's path; the last scope is the operation itself."""
    found = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "[]")
    scopes: list[str] = literal_eval(found)
    return scopes[-2] if len(scopes) > 1 else ""
