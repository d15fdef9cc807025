"""Proof of precision: what a built engine executes, against what the typed graph says.

Engines fall back to float without a word where a pattern does not suit them. So each is asked what it runs, and the
multiplications of the graph's layers are counted by the precision that they run in.
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

UNKNOWN = "unknown"  # the engine does not tell
TYPES: dict[int, str] = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16"}
# What engines append to a node's name, as in "stem.input/Conv/WithoutBiases" and "stem.input/Conv_token_140".
SEPARATORS = ("/", "_", " ")


@dataclass(frozen=True)
class PrecisionProof:
    """What one engine runs."""

    operators: dict[str, int]  # precision -> operators, of all that the engine executes
    macs: dict[str, float]  # precision -> share of the graph's multiplications, adding up to 1
    fallbacks: tuple[str, ...]  # "layer: typed int8, runs in fp32"
    unverified: float = 0.0  # share of multiplications for which the strongly typed network speaks, not the engine

    def to_dict(self) -> dict[str, Any]:
        """As stored in a bundle."""
        return asdict(self)


def prove_precision(model: bytes, executed: Iterable[ExecutedOperator]) -> PrecisionProof:
    """Compare what an engine executes with the typed graph.

    Args:
        model: The typed ONNX.
        executed: What the engine reports.
    """
    executed = tuple(executed)
    graph = Graph.parse(model)
    macs: Counter[str] = Counter()
    fallbacks, unverified = [], 0
    for layer in graph.layers():
        # OpenVINO calls what makes an output of the graph as that output.
        names = (layer.name, graph.nodes[layer.name].output[0])
        operators = _operators_of(names, executed)
        typed, runs = typed_precision(graph, layer), _precision_of(operators)
        macs[runs] += layer.macs
        if not all(operator.reported_by_engine for operator in operators):
            unverified += layer.macs
        if runs != typed and executed:
            fallbacks.append(f"{layer.name}: typed {typed}, runs in {runs}")
    total = sum(macs.values())
    return PrecisionProof(
        operators=dict(sorted(Counter(operator.precision for operator in executed).items())),
        macs={precision: round(count / total, 4) for precision, count in sorted(macs.items())},
        fallbacks=tuple(fallbacks),
        unverified=round(unverified / total, 4),
    )


def proven(
    engine: str, model: bytes, executed: Iterable[ExecutedOperator], *, allow_fallback: bool = False
) -> dict[str, Any]:
    """The proof of an engine's precision as a bundle stores it.

    Raises:
        EngineError: The engine fell back, and may not.
    """
    proof = prove_precision(model, executed)
    if not allow_fallback:
        check_precision(engine, proof)
    return proof.to_dict()


def check_precision(engine: str, proof: PrecisionProof) -> None:
    """Refuse an engine that fell back.

    Raises:
        EngineError: It did; the layers are named.
    """
    if proof.fallbacks:
        more = f" and {len(proof.fallbacks) - 5} more" if len(proof.fallbacks) > 5 else ""
        raise EngineError(
            f"{engine} does not run {len(proof.fallbacks)} layers in the precision of the graph: "
            f"{'; '.join(proof.fallbacks[:5])}{more}. "
            "Choose a precision that this engine has, or allow it with --allow-fallback"
        )


def typed_precision(graph: Graph, layer: Layer) -> str:
    """What the typed graph says of a layer: int8, if all it multiplies is dequantised."""
    node = graph.nodes[layer.name]
    makers = [graph.makers.get(tensor) for tensor in node.input[:2]]
    if all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers):
        return "int8"
    return TYPES.get(graph.types.get(node.output[0], 0), UNKNOWN)


def _operators_of(names: tuple[str, ...], executed: tuple[ExecutedOperator, ...]) -> list[ExecutedOperator]:
    """The operators that a node went into; of several, those that multiply."""
    found = [
        operator for operator in executed if any(_stands_for(given, name) for given in operator.names for name in names)
    ]
    return [operator for operator in found if operator.multiplies] or found


def _precision_of(operators: list[ExecutedOperator]) -> str:
    return "+".join(sorted({operator.precision for operator in operators})) or UNKNOWN


def _stands_for(given: str, name: str) -> bool:
    return given == name or (given.startswith(name) and given[len(name) :].startswith(SEPARATORS))
