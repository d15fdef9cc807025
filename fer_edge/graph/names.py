"""Names of nodes and tensors after the model's modules: `blocks.0.attention.query/MatMul`.

The exporter numbers them (`node_MatMul_58`, `val_59`), differently in every release. Ranges, sensitivity search and
parity refer to tensors by name, so names have to be the same after another export: path of the module, and operator.
The first output of a node has the name of the node.
"""

from __future__ import annotations

from ast import literal_eval
from collections import Counter

import onnx_ir as ir

from fer_edge.graph.typed_graph import input_of, name_of

SCOPES = "pkg.torch.onnx.name_scopes"  # metadata entry of a node: the modules that it was exported from
NUMBERED = "val_"  # prefix of constants that the exporter created
WEIGHTED = ("Conv", "Gemm", "MatMul", "PRelu")


def name_by_module(graph: ir.Graph) -> None:
    """Rename nodes, their outputs and numbered weights; inputs and outputs of the graph keep their names."""
    constants = list(graph.initializers.values())
    exported = set(graph.initializers)
    counts: Counter[str] = Counter()
    for node in graph:
        weight = input_of(node, 1) if node.op_type in WEIGHTED and input_of(node, 1).is_initializer() else None
        numbered = weight is not None and name_of(weight).startswith(NUMBERED)
        module = _module_path(node) or ("" if weight is None or numbered else name_of(weight))
        name = "/".join(part for part in (module, node.op_type) if part)
        counts[name] += 1
        node.name = name if counts[name] == 1 else f"{name}.{counts[name]}"
        for index, output in enumerate(node.outputs):
            if output.name and not output.is_graph_output():
                output.name = node.name if index == 0 else f"{node.name}:{index}"
        if weight is not None and numbered and len(weight.uses()) == 1 and f"{module}.weight" not in exported:
            weight.name = f"{module}.weight"
    graph.initializers.clear()  # renaming moves a constant to the end
    for constant in constants:
        graph.initializers.add(constant)


def _module_path(node: ir.Node) -> str:
    """Return the path of the innermost module; the last scope is the operation itself."""
    scopes: list[str] = literal_eval(node.metadata_props.get(SCOPES, "[]"))
    return scopes[-2] if len(scopes) > 1 else ""
