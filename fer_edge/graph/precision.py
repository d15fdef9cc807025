"""Proof of precision: the precision that a built engine executes each layer in, compared with the typed graph.

Engines fall back to float silently for patterns that they have no kernel for. So the engine's operators are inspected,
and the multiply-accumulates of the graph's layers are counted by the precision that they run in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import onnx_ir as ir

from fer_edge.engines.base import ExecutedOperator
from fer_edge.errors import EngineError
from fer_edge.graph.typed_graph import TypedGraph, input_of

UNKNOWN = "unknown"  # the engine does not report the layer
TYPES: dict[ir.DataType | None, str] = {ir.DataType.FLOAT: "fp32", ir.DataType.FLOAT16: "fp16"}
# Separators before what engines append to a node's name: "stem.input/Conv/WithoutBiases", "stem.input/Conv_token_140".
SEPARATORS = ("/", "_", " ")
MAX_NAMED = 5  # layers that the message names
# ONNX Runtime names a convolution with a fused activation after the activation: "stem.act/Clip_nchwc".
ACTIVATIONS = ("Clip", "Relu")


@dataclass(frozen=True)
class PrecisionProof:
    """Precisions that one engine executes."""

    operators: dict[str, int]  # precision -> number of executed operators
    macs: dict[str, float]  # precision -> share of the graph's multiply-accumulates; the sum is 1
    fallbacks: tuple[str, ...]  # "layer: typed int8, runs in fp32"
    unverified: float = 0.0  # share of multiply-accumulates whose precision is the network's declared type, uninspected

    def check(self, engine: str) -> None:
        """Refuse an engine with fallbacks.

        Raises:
            EngineError: Layers in another precision than the graph's; the message names them.
        """
        if self.fallbacks:
            count = len(self.fallbacks)
            more = f" and {count - MAX_NAMED} more" if count > MAX_NAMED else ""
            raise EngineError(
                f"{engine} does not run {count} layers in the precision of the graph: "
                f"{'; '.join(self.fallbacks[:MAX_NAMED])}{more}. "
                "Choose a precision that the engine supports, or accept this with --allow-fallback"
            )


def prove_precision(graph: TypedGraph, executed: Iterable[ExecutedOperator]) -> PrecisionProof:
    """Compare the operators that an engine executes with the typed graph.

    Args:
        graph: The typed graph.
        executed: Operators that the engine reports.
    """
    executed = tuple(executed)
    macs: Counter[str] = Counter()
    fallbacks, unverified = [], 0
    for layer in graph.layers:
        node = graph.nodes[layer.name]
        # OpenVINO names the node that produces an output of the graph after that output.
        names = (layer.name, str(node.outputs[0].name))
        operators = _find_operators(names, executed) or _find_fused(node, executed)
        typed = typed_precision(node)
        actual = "+".join(sorted({operator.precision for operator in operators})) or UNKNOWN
        macs[actual] += layer.macs
        if not all(operator.reported_by_engine for operator in operators):
            unverified += layer.macs
        if actual != typed and executed:
            fallbacks.append(f"{layer.name}: typed {typed}, runs in {actual}")
    total = sum(macs.values())
    return PrecisionProof(
        operators=dict(sorted(Counter(operator.precision for operator in executed).items())),
        macs={precision: round(count / total, 4) for precision, count in sorted(macs.items())},
        fallbacks=tuple(fallbacks),
        unverified=round(unverified / total, 4),
    )


def checked_proof(
    engine: str, graph: TypedGraph, executed: Iterable[ExecutedOperator], *, allow_fallback: bool = False
) -> dict[str, Any]:
    """Prove the precision of an engine, in the form that a bundle stores.

    Args:
        engine: Name of the engine.
        graph: The typed graph.
        executed: Operators that the engine reports.
        allow_fallback: Whether layers may run in another precision than the graph's; False by default.

    Raises:
        EngineError: Layers in another precision that are not allowed.
    """
    proof = prove_precision(graph, executed)
    if not allow_fallback:
        proof.check(engine)
    return asdict(proof)


def typed_precision(node: ir.Node) -> str:
    """Return the precision of a layer in the typed graph: int8 if both factors are dequantised."""
    producers = [input_of(node, index).producer() for index in (0, 1)]
    if all(producer is not None and producer.op_type == "DequantizeLinear" for producer in producers):
        return "int8"
    return TYPES.get(node.outputs[0].dtype, UNKNOWN)


def _find_operators(names: tuple[str, ...], executed: tuple[ExecutedOperator, ...]) -> list[ExecutedOperator]:
    """Return the operators that a node was compiled into; of several, those that multiply."""
    operators = [
        operator
        for operator in executed
        if any(_matches(reported, name) for reported in operator.names for name in names)
    ]
    return [operator for operator in operators if operator.multiplies] or operators


def _find_fused(node: ir.Node, executed: tuple[ExecutedOperator, ...]) -> list[ExecutedOperator]:
    """Return the multiplying operators that have the name of the activation behind a node."""
    consumers = node.outputs[0].consumers()
    if len(consumers) != 1 or consumers[0].op_type not in ACTIVATIONS:
        return []
    return [operator for operator in _find_operators((str(consumers[0].name),), executed) if operator.multiplies]


def _matches(reported: str, name: str) -> bool:
    """Return whether an engine's name of a node is the node's name, possibly with a suffix."""
    return reported == name or (reported.startswith(name) and reported[len(name) :].startswith(SEPARATORS))
