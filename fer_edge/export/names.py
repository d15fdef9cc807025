"""Names of nodes and tensors after the model's modules: `blocks.0.attention.query/MatMul`.

The exporter numbers them (`node_MatMul_58`, `val_59`), differently in every release. Ranges, sensitivity search and
parity refer to tensors by name, so names have to be the same after another export: path of the module, and operator.
The first output of a node has the name of the node.
"""

from __future__ import annotations

from ast import literal_eval
from collections import Counter

import onnx

SCOPES = "pkg.torch.onnx.name_scopes"  # metadata entry of a node: the modules that it was exported from
NUMBERED = "val_"  # prefix of constants that the exporter created
WEIGHTED = ("Conv", "Gemm", "MatMul", "PRelu")


def name_by_module(graph: onnx.GraphProto) -> None:
    """Rename nodes, their outputs and numbered weights; inputs and outputs of the graph keep their names."""
    weights = {tensor.name for tensor in graph.initializer}
    fixed = {value.name for value in [*graph.input, *graph.output]}
    consumers = Counter(tensor for node in graph.node for tensor in node.input)
    counts: Counter[str] = Counter()
    renamed: dict[str, str] = {}
    for node in graph.node:
        weight = node.input[1] if node.op_type in WEIGHTED and node.input[1] in weights else ""
        numbered = weight.startswith(NUMBERED)
        module = _module_path(node) or ("" if numbered else weight)
        name = "/".join(part for part in (module, node.op_type) if part)
        counts[name] += 1
        node.name = name if counts[name] == 1 else f"{name}.{counts[name]}"
        for index, output in enumerate(node.output):
            if output and output not in fixed:
                renamed[output] = node.name if index == 0 else f"{node.name}:{index}"
        if numbered and consumers[weight] == 1 and f"{module}.weight" not in weights:
            renamed[weight] = f"{module}.weight"
    for node in graph.node:
        for names in (node.input, node.output):
            for index, tensor in enumerate(names):
                names[index] = renamed.get(tensor, tensor)
    for value in [*graph.value_info, *graph.initializer]:
        value.name = renamed.get(value.name, value.name)


def _module_path(node: onnx.NodeProto) -> str:
    """Return the path of the innermost module; the last scope is the operation itself."""
    text = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "[]")
    scopes: list[str] = literal_eval(text)
    return scopes[-2] if len(scopes) > 1 else ""
