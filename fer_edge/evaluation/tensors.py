"""The tensors inside a typed ONNX graph, as ONNX Runtime computes them operator by operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
import onnx

from fer_edge.engines.base import INPUT_NAME, Images
from fer_edge.errors import EngineError, EngineUnavailable

Tensors = dict[str, npt.NDArray[Any]]


class TensorReader:
    """Runs a graph and gives tensors from inside it.

    Nothing is fused and one thread adds, so that equal images give equal values, bit for bit.

    Args:
        model: The typed ONNX.
        names: Tensors to give, whatever node makes them.
    """

    def __init__(self, model: bytes, names: Sequence[str]) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise EngineUnavailable(
                f'looking into a graph needs ONNX Runtime ({error}); run: pip install "fer-edge[onnxruntime]"'
            ) from error
        self.names = list(names)
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        settings.intra_op_num_threads = 1
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = onnxruntime.InferenceSession(
                with_outputs(model, names), settings, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exception types are internal to the extension module
            raise EngineError(f"ONNX Runtime refused the graph: {error}") from error

    def read(self, images: Images) -> Tensors:
        """The tensors for a batch, (N, ...) each."""
        return dict(zip(self.names, self._session.run(self.names, {INPUT_NAME: images}), strict=True))


def with_outputs(model: bytes, names: Sequence[str]) -> bytes:
    """The model with tensors from inside as further outputs.

    Raises:
        EngineError: No node makes one of them.
    """
    proto = onnx.load_from_string(model)
    made = {output for node in proto.graph.node for output in node.output}
    missing = [name for name in names if name not in made]
    if missing:
        raise EngineError(f"the graph has no tensor {missing[0]}; it was exported by another version, or is another")
    present = {value.name for value in proto.graph.output}
    for name in names:
        if name not in present:
            proto.graph.output.append(onnx.ValueInfoProto(name=name))
    return proto.SerializeToString()
