"""Check of measured activation ranges and weights against float16's limits."""

from __future__ import annotations

import numpy as np
import onnx

from fer_edge.calibration.graph import Graph
from fer_edge.calibration.ranges import Ranges
from fer_edge.errors import EngineError

LARGEST = 65504.0  # largest finite float16
HEADROOM = 2.0  # factor by which other images may exceed the measured ranges
MAX_NAMED = 5  # tensors that the message names


def check_half(model: bytes, ranges: Ranges) -> None:
    """Refuse a float16 graph whose activations or weights could overflow.

    Layer norms, softmax and heads are float32 in the graph, so their tensors are not checked.

    Args:
        model: The fp16 deploy graph.
        ranges: Ranges of the same checkpoint's fp32 graph.

    Raises:
        EngineError: Tensors that overflow or exceed half of float16's largest value; the message names them.
    """
    graph = Graph.parse(model)
    limit = LARGEST / HEADROOM
    problems = []
    for tensor in graph.activations():
        if graph.types[tensor] != onnx.TensorProto.FLOAT16 or tensor not in ranges.tensors:
            continue
        peak = max(abs(ranges.tensors[tensor].low), abs(ranges.tensors[tensor].high))
        if peak > limit:
            problems.append(f"{tensor} reaches {peak:g}")
    for name, stored in graph.constants.items():
        if stored.data_type == onnx.TensorProto.FLOAT16 and not np.isfinite(graph.array(name)).all():
            problems.append(f"{name} contains a value beyond float16's range")
    if problems:
        more = f" and {len(problems) - MAX_NAMED} more" if len(problems) > MAX_NAMED else ""
        raise EngineError(
            f"float16 would overflow: {'; '.join(problems[:MAX_NAMED])}{more}; the limit is {limit:g}. Build fp32 or "
            "int8 instead"
        )
