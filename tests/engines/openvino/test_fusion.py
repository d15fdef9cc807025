"""Bypassed Q/DQ pairs between convolutions and PReLUs in OpenVINO."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from fer_edge.engines.openvino.core import core
from fer_edge.engines.openvino.fusion import bypass_pairs
from tests.calibration.tiny_ranges import tiny_graph, tiny_images, tiny_int8


def read(model: bytes) -> Any:
    return core().read_model(model)


def logits(network: Any) -> Any:
    compiled = core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(next(tiny_images().batches(16)))["label_logits"]


def test_every_prelu_is_connected_to_its_convolution() -> None:
    model = tiny_int8().to_bytes()
    exact, unchanged, bypassed = logits(read(tiny_graph().to_bytes())), read(model), read(model)
    prelus = sum(node.op_type == "PRelu" for node in onnx.load_from_string(model).graph.node)
    assert bypass_pairs(bypassed) == prelus > 3
    assert bypass_pairs(bypassed) == 0
    for node in bypassed.get_ordered_ops():
        if node.get_type_name() == "PRelu":
            assert node.input_value(0).get_node().get_type_name() in ("Add", "Convolution")
    bypassed_error, unchanged_error = (np.abs(logits(network) - exact).mean() for network in (bypassed, unchanged))
    assert 0 < bypassed_error < unchanged_error


@pytest.mark.parametrize("changed", ["scale", "zero", "reader"])
def test_pair_that_does_more_than_round_is_not_bypassed(changed: str) -> None:
    model = onnx.load_from_string(tiny_int8().to_bytes())
    pair = next(node for node in model.graph.node if node.name.startswith("dequantize stem.act"))
    if changed == "scale":  # a pair that doubles
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0.5, np.float32), "other scale"))
        pair.input[1] = "other scale"
    elif changed == "zero":
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(7, np.int8), "other zero"))
        pair.input[2] = "other zero"
    else:
        model.graph.output.append(onnx.helper.make_tensor_value_info(pair.output[0], onnx.TensorProto.FLOAT, None))
    network = read(model.SerializeToString())
    prelus = sum(node.op_type == "PRelu" for node in model.graph.node)
    assert bypass_pairs(network) == prelus - 1
