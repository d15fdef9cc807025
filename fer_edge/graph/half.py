"""Check of measured activation ranges and weights against float16's limits."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from fer_edge.errors import EngineError
from fer_edge.graph.ranges import Ranges
from fer_edge.graph.typed_graph import TypedGraph, array_of, name_of

LARGEST = 65504.0  # largest finite float16
HEADROOM = 2.0  # factor by which other images may exceed the measured ranges
MAX_NAMED = 5  # tensors that the message names


def check_half(graph: TypedGraph, ranges: Ranges) -> None:
    """Refuse a float16 graph whose activations or weights could overflow.

    Layer norms, softmax and heads are float32 in the graph, so their tensors are not checked.

    Args:
        graph: The fp16 deploy graph.
        ranges: Ranges of the same checkpoint's fp32 graph.

    Raises:
        EngineError: Tensors that overflow or exceed half of float16's largest value; the message names them.
    """
    limit = LARGEST / HEADROOM
    problems = []
    for value in graph.activations():
        measured = ranges.tensors.get(name_of(value))
        if measured is None or value.dtype != ir.DataType.FLOAT16:
            continue
        peak = max(abs(measured.low), abs(measured.high))
        if peak > limit:
            problems.append(f"{value.name} reaches {peak:g}")
    for name, constant in graph.model.graph.initializers.items():
        if constant.dtype == ir.DataType.FLOAT16 and not np.isfinite(array_of(constant)).all():
            problems.append(f"{name} contains a value beyond float16's range")
    if problems:
        more = f" and {len(problems) - MAX_NAMED} more" if len(problems) > MAX_NAMED else ""
        raise EngineError(
            f"float16 would overflow: {'; '.join(problems[:MAX_NAMED])}{more}; the limit is {limit:g}. Build fp32 or "
            "int8 instead"
        )
