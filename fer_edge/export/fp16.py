"""Whether a graph may be computed in float16: ranges on real data decide, not hope."""

from __future__ import annotations

import numpy as np
import onnx

from fer_edge.calibration.graph import Graph
from fer_edge.calibration.ranges import Ranges
from fer_edge.errors import EngineError

LARGEST = 65504.0  # of float16
HEADROOM = 2.0  # other images go further than those that were seen
NAMED = 5


def check_half(model: bytes, ranges: Ranges) -> None:
    """Refuse a float16 graph whose activations or weights do not fit.

    Layer norms, softmax and heads are float32 in the graph, so their tensors are not looked at.

    Args:
        model: The fp16 deploy graph.
        ranges: Of the same checkpoint's fp32 graph, on real images.

    Raises:
        EngineError: A tensor overflows, or comes too close; the tensors are named.
    """
    graph = Graph.parse(model)
    limit = LARGEST / HEADROOM
    wrong = []
    for tensor in graph.activations():
        if graph.types[tensor] != onnx.TensorProto.FLOAT16 or tensor not in ranges.tensors:
            continue
        peak = max(abs(ranges.tensors[tensor].low), abs(ranges.tensors[tensor].high))
        if peak > limit:
            wrong.append(f"{tensor} reaches {peak:g}")
    for name, stored in graph.constants.items():
        if stored.data_type == onnx.TensorProto.FLOAT16 and not np.isfinite(graph.array(name)).all():
            wrong.append(f"{name} holds a value that float16 has not")
    if wrong:
        more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise EngineError(
            f"float16 would overflow: {'; '.join(wrong[:NAMED])}{more}; {limit:g} is allowed. Build fp32, or int8"
        )
