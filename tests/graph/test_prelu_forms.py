"""PReLUs in two forms: split for ONNX Runtime, restored for OpenVINO."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import openvino
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from fer_edge.engines.openvino.core import core
from fer_edge.engines.openvino.fusion import join_prelus
from fer_edge.graph.prelu_forms import separate_slopes, split_prelus
from fer_edge.graph.typed_graph import TypedGraph, array_of

SHAPE = (2, 3, 4, 5)


def split(slopes: Any) -> bytes:
    """Return a graph of one PReLU after its split."""
    node = helper.make_node("PRelu", ["x", "slopes"], ["y"], "y")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("x", "y")]
    constant = numpy_helper.from_array(np.asarray(slopes, np.float32).reshape(-1, 1, 1), "slopes")
    graph = helper.make_graph([node], "one", values[:1], values[1:], [constant])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return split_prelus(TypedGraph.parse(proto.SerializeToString())).to_bytes()


def kinds(network: Any) -> list[str]:
    return [node.get_type_name() for node in network.get_ordered_ops()]


def test_shared_slopes_are_separated() -> None:
    nodes = [helper.make_node("PRelu", [x, "slopes"], [y], y) for x, y in ("xy", "yz")]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("x", "z")]
    slopes = numpy_helper.from_array(np.full((3, 1, 1), 0.25, np.float32), "slopes")
    graph = helper.make_graph(nodes, "two", values[:1], values[1:], [slopes])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    model = TypedGraph.parse(proto.SerializeToString()).model
    separate_slopes(model.graph)
    first, second = (node.inputs[1] for node in model.graph)
    assert first is not None and second is not None and first is not second
    np.testing.assert_array_equal(array_of(first), array_of(second))


@given(st.lists(st.floats(-3, 1, width=32), min_size=3, max_size=3))
@settings(max_examples=30, deadline=None)
def test_both_forms_are_equal(slopes: list[float]) -> None:
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    proto = onnx.load_from_string(split(slopes))
    assert [node.op_type for node in proto.graph.node] == ["Mul", "Max"]
    expected = np.where(x > 0, x, x * np.asarray(slopes, np.float32)[:, None, None])
    (actual,) = list(ReferenceEvaluator(proto).run(None, {"x": x}))
    np.testing.assert_array_equal(actual, expected)


def test_slope_above_one_remains_a_prelu() -> None:
    assert [node.op_type for node in onnx.load_from_string(split([0.5, 1.5, 0])).graph.node] == ["PRelu"]


def test_openvino_prelu_is_restored() -> None:
    network = core().read_model(split([0.5, -2, 1]))
    assert join_prelus(network) == 1
    assert "PRelu" in kinds(network) and "Maximum" not in kinds(network)
    assert "y" in {node.get_friendly_name() for node in network.get_ordered_ops()}
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    actual = core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([x])[0]
    expected = np.where(x > 0, x, x * np.array([0.5, -2, 1], np.float32)[:, None, None])
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("slopes", "of_another"), [(np.full((3, 1, 1), 1.5), False), (np.full((1, 5), 0.5), False), (0.5, True)]
)
def test_other_maxima_are_not_changed(slopes: Any, of_another: bool) -> None:
    from openvino import opset13 as ops

    x, other = ops.parameter(list(SHAPE), np.float32), ops.parameter(list(SHAPE), np.float32)
    factor = np.broadcast_to(slopes, (3, 1, 1)) if of_another else slopes
    product = ops.multiply(other if of_another else x, ops.constant(np.asarray(factor, np.float32)))
    network = openvino.Model([ops.result(ops.maximum(x, product))], [x, other], "maximum")
    assert join_prelus(network) == 0
