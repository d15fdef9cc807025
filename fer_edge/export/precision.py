"""Proof of precision: the precision that a built engine executes each layer in, compared with the typed graph.

Engines fall back to float silently for patterns that they have no kernel for. So the engine's operators are inspected,
and the multiply-accumulates of the graph's layers are counted by the precision that they run in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from onnx import TensorProto

from fer_edge.calibration.graph import Graph, Layer
from fer_edge.engines.base import ExecutedOperator
from fer_edge.errors import EngineError

UNKNOWN = "unknown"  # the engine does not report the layer
TYPES: dict[int, str] = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16"}
# Separators before what engines append to a node's name: "stem.input/Conv/WithoutBiases", "stem.input/Conv_token_140".
SEPARATORS = ("/", "_", " ")
MAX_NAMED = 5  # layers that the message names


@dataclass(frozen=True)
class PrecisionProof:
    """Precisions that one engine executes."""

    operators: dict[str, int]  # precision -> number of executed operators
    macs: dict[str, float]  # precision -> share of the graph's multiply-accumulates; the sum is 1
    fallbacks: tuple[str, ...]  # "layer: typed int8, runs in fp32"
    unverified: float = 0.0  # share of multiply-accumulates whose precision is the network's declared type, uninspected

    def to_dict(self) -> dict[str, Any]:
        """Return the proof in the form that a bundle stores."""
        return asdict(self)


def prove_precision(model: bytes, executed: Iterable[ExecutedOperator]) -> PrecisionProof:
    """Compare the operators that an engine executes with the typed graph.

    Args:
        model: The typed ONNX.
        executed: Operators that the engine reports.
    """
    executed = tuple(executed)
    graph = Graph.parse(model)
    macs: Counter[str] = Counter()
    fallbacks, unverified = [], 0
    for layer in graph.layers():
        # OpenVINO names the node that produces an output of the graph after that output.
        names = (layer.name, graph.nodes[layer.name].output[0])
        operators = _find_operators(names, executed)
        typed, actual = typed_precision(graph, layer), _precision_of(operators)
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
    engine: str, model: bytes, executed: Iterable[ExecutedOperator], *, allow_fallback: bool = False
) -> dict[str, Any]:
    """Prove the precision of an engine, in the form that a bundle stores.

    Args:
        engine: Name of the engine.
        model: The typed ONNX.
        executed: Operators that the engine reports.
        allow_fallback: Whether layers may run in another precision than the graph's; False by default.

    Raises:
        EngineError: Layers in another precision that are not allowed.
    """
    proof = prove_precision(model, executed)
    if not allow_fallback:
        check_precision(engine, proof)
    return proof.to_dict()


def check_precision(engine: str, proof: PrecisionProof) -> None:
    """Refuse an engine with fallbacks.

    Raises:
        EngineError: Layers in another precision than the graph's; the message names them.
    """
    if proof.fallbacks:
        count = len(proof.fallbacks)
        more = f" and {count - MAX_NAMED} more" if count > MAX_NAMED else ""
        raise EngineError(
            f"{engine} does not run {count} layers in the precision of the graph: "
            f"{'; '.join(proof.fallbacks[:MAX_NAMED])}{more}. "
            "Choose a precision that the engine supports, or accept this with --allow-fallback"
        )


def typed_precision(graph: Graph, layer: Layer) -> str:
    """Return the precision of a layer in the typed graph: int8 if both factors are dequantised."""
    node = graph.nodes[layer.name]
    producers = [graph.producers.get(tensor) for tensor in node.input[:2]]
    if all(producer is not None and producer.op_type == "DequantizeLinear" for producer in producers):
        return "int8"
    return TYPES.get(graph.types.get(node.output[0], 0), UNKNOWN)


def _find_operators(names: tuple[str, ...], executed: tuple[ExecutedOperator, ...]) -> list[ExecutedOperator]:
    """Return the operators that a node was compiled into; of several, those that multiply."""
    operators = [
        operator
        for operator in executed
        if any(_matches(reported, name) for reported in operator.names for name in names)
    ]
    return [operator for operator in operators if operator.multiplies] or operators


def _precision_of(operators: list[ExecutedOperator]) -> str:
    return "+".join(sorted({operator.precision for operator in operators})) or UNKNOWN


def _matches(reported: str, name: str) -> bool:
    """Return whether an engine's name of a node is the node's name, possibly with a suffix."""
    return reported == name or (reported.startswith(name) and reported[len(name) :].startswith(SEPARATORS))
