"""Graphs with one input, on every engine that runs them."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from fer_edge.engines.base import RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.errors import EngineError, UnsupportedTargetError

ENGINES = ("openvino", "onnxruntime")


def graph_of(shape: list[int | str], inputs: int = 1, kind: int = TensorProto.FLOAT) -> bytes:
    """Return a graph whose outputs are twice and three times the sum of its inputs."""
    ports = [helper.make_tensor_value_info(f"in{index}", kind, shape) for index in range(inputs)]
    nodes = [helper.make_node("Sum", [port.name for port in ports], ["sum"])]
    nodes += [helper.make_node("Sum", ["sum"] * count, [f"times{count}"]) for count in (2, 3)]
    outputs = [helper.make_tensor_value_info(f"times{count}", kind, None) for count in (2, 3)]
    model = helper.make_model(
        helper.make_graph(nodes, "graph", ports, outputs), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    return model.SerializeToString()


@pytest.mark.parametrize("name", ENGINES)
def test_one_graph_runs_inputs_of_several_shapes(name: str) -> None:
    graph = get_engine(name).open_graph(graph_of([1, "height", "width"]), RunOptions(threads=1))
    assert graph.port == ("in0", (1, None, None), np.dtype(np.float32))
    assert graph.outputs == ("times2", "times3")
    small, large = graph.compile((1, 2, 3)), graph.compile((1, 4, 5))
    for execution in (small, large, small):
        execution.input[:] = np.random.default_rng(0).normal(size=execution.input.shape)
        outputs = execution.run()
        np.testing.assert_allclose(outputs["times2"], 2 * execution.input)
        np.testing.assert_allclose(outputs["times3"], 3 * execution.input, rtol=1e-6)


def test_fixed_size_is_changed_by_openvino_only() -> None:
    model = graph_of([1, 2, 3])
    execution = get_engine("openvino").open_graph(model, RunOptions(threads=1)).compile((1, 4, 5))
    assert execution.run()["times2"].shape == (1, 4, 5)
    graph = get_engine("onnxruntime").open_graph(model, RunOptions(threads=1))
    with pytest.raises(EngineError, match="declared as 1 x 2 x 3; got 1 x 4 x 5: use the engine openvino"):
        graph.compile((1, 4, 5))


@pytest.mark.parametrize("name", ENGINES)
def test_wrong_graphs_are_refused(name: str) -> None:
    engine = get_engine(name)
    with pytest.raises(EngineError, match=r"the graph has 2 inputs \(in0, in1\); expected one, an image"):
        engine.open_graph(graph_of([1], inputs=2), RunOptions(threads=1))
    with pytest.raises(EngineError, match="refused the model"):
        engine.open_graph(b"no graph", RunOptions(threads=1))


def test_other_types_are_refused_by_onnx_runtime() -> None:
    with pytest.raises(EngineError, match=r"input is of type tensor\(double\); expected one of tensor\(uint8\)"):
        get_engine("onnxruntime").open_graph(graph_of([1], kind=TensorProto.DOUBLE), RunOptions(threads=1))


def test_engines_of_gpus_run_bundles_only() -> None:
    with pytest.raises(UnsupportedTargetError, match="tensorrt runs bundles only; use openvino or onnxruntime"):
        get_engine("tensorrt").open_graph(b"", RunOptions())
