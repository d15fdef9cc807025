"""The int8 graph: places and scales of the pairs, and agreement of the engines."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from fer_edge.engines.base import HALF_SCALES, Artifact, Prediction, RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.errors import ConfigError, DataError
from fer_edge.graph.qdq import chosen_layers, quantize_graph, quantize_weight
from fer_edge.graph.ranges import ranges_from_json
from fer_edge.graph.typed_graph import TypedGraph, array_of, input_of, name_of
from tests.calibration.tiny_ranges import tiny_graph, tiny_images, tiny_int8, tiny_ranges


def run(engine: str, graph: TypedGraph) -> Prediction:
    with get_engine(engine).load(Artifact(graph.to_bytes(), None, 16), RunOptions(threads=1)) as runner:
        return runner.infer(next(tiny_images().batches(16)))


def pairs(graph: TypedGraph) -> dict[tuple[str, int], float]:
    """Return the scale of each activation pair by consumer and input position."""
    scales = {}
    for name, node in graph.nodes.items():
        for index, value in enumerate(node.inputs):
            producer = None if value is None else value.producer()
            if producer is None or producer.op_type != "DequantizeLinear" or input_of(producer, 0).is_initializer():
                continue
            scales[name, index] = float(array_of(input_of(producer, 1)))
    return scales


def test_equal_ranges_give_equal_bytes() -> None:
    ranges = tiny_ranges()
    again = ranges_from_json(ranges.to_json())
    assert again == ranges
    assert quantize_graph(tiny_graph(), again).to_bytes() == quantize_graph(tiny_graph(), ranges).to_bytes()


def test_every_quantiser_is_symmetric_and_signed() -> None:
    for node in tiny_int8().nodes.values():
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = array_of(input_of(node, 2))
            assert zero.dtype == np.int8 and not zero.any()


def test_every_consumer_has_a_pair_of_its_own() -> None:
    for node in tiny_int8().nodes.values():
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert len(node.outputs[0].uses()) == 1


def test_pairs_are_where_engines_fuse_them() -> None:
    scales = pairs(tiny_int8())
    convolution, addition = "stem.blocks.1.conv1/Conv", "stem.blocks.1/Add"
    assert (convolution, 0) in scales  # its input
    assert ("stem.blocks.1.act/PRelu", 0) in scales  # its output
    assert (addition, 0) in scales and (addition, 1) in scales  # both operands at the end of the block
    assert scales[addition, 1] == scales[convolution, 0]  # the skip branch is the same tensor
    # A rearranged tensor is quantised before and after, with one scale, so that bytes are moved.
    assert scales["blocks.0.attention/Transpose.4", 0] == scales["blocks.0.attention.proj/MatMul", 0]
    # No pair between a linear layer and its bias, at softmax or at heads.
    assert not any(name.endswith(("fc1/Add", "Softmax", "Gemm", "LayerNormalization")) for name, _ in scales)


def test_scales_come_from_the_ranges() -> None:
    ranges = tiny_ranges()
    scales = pairs(quantize_graph(tiny_graph(), ranges))
    expected = ranges.tensors["stem.blocks.0/Add"].magnitude / 127
    assert scales["stem.blocks.1.conv1/Conv", 0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(("shape", "axis"), [((6, 4, 3, 3), 0), ((5, 7), 1), ((5, 7), 0)])
def test_weights_have_one_scale_per_output_channel(shape: tuple[int, ...], axis: int, dtype: type[np.floating]) -> None:
    weight = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    weight[(slice(None),) * axis + (1,)] = 0
    quantized, scales = quantize_weight(weight, axis)
    assert quantized.dtype == np.int8 and scales.shape == (shape[axis],) and scales.dtype == dtype
    assert (scales > 0).all(), "TensorRT refuses others"
    sizes = [1] * len(shape)
    sizes[axis] = -1
    error = np.abs(quantized * scales.astype(float).reshape(sizes) - weight)
    rounding = 127 * float(np.finfo(dtype).eps) / 2  # of the scale to its type, at the largest value
    assert (error <= scales.astype(float).reshape(sizes) * (0.5 + rounding) + 1e-12).all()
    peaks = np.abs(quantized).max(axis=tuple(i for i in range(len(shape)) if i != axis))
    assert sorted(peaks)[0] == 0 and sorted(peaks)[1] == 127


def test_engines_agree_and_are_close_to_the_float_graph() -> None:
    model = tiny_int8()
    openvino, onnxruntime = run("openvino", model), run("onnxruntime", model)
    expected = run("onnxruntime", tiny_graph())
    for prediction in (openvino, onnxruntime):
        a, b = prediction.label_logits.ravel(), expected.label_logits.ravel()
        assert float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) > 0.99
        assert not np.array_equal(a, b)
    assert np.abs(openvino.label_logits - onnxruntime.label_logits).max() < 0.1 * np.abs(expected.label_logits).max()


def test_layer_kinds_select_the_layers() -> None:
    graph = tiny_graph()
    kinds = Counter(layer.kind for layer in graph.layers)
    # Convolutions: two in each of four blocks, one shortcut, the input layer, one for each of four patch sizes.
    # Depthwise: the position encoding. Six linear layers and two products in each of two blocks. Two heads.
    assert kinds == {"conv": 14, "depthwise": 1, "linear": 12, "attention": 4, "head": 2}
    heads = replace(tiny_ranges(), layer_kinds=("head",))
    assert [layer.name for layer in chosen_layers(graph, heads)] == ["label_head/Gemm", "text_matrix/MatMul"]
    everything = replace(tiny_ranges(), layer_kinds=("conv", "linear", "attention", "head"))
    scales = pairs(quantize_graph(tiny_graph(), everything))
    assert ("blocks.0.attention/MatMul", 0) in scales and ("blocks.0.attention/MatMul", 1) in scales
    assert ("label_head/Gemm", 0) in scales


def test_float_layers_are_not_quantised() -> None:
    ranges = replace(tiny_ranges(), float_layers=("stem.input/Conv", "blocks.0.fc1/MatMul"))
    graph = quantize_graph(tiny_graph(), ranges)
    assert name_of(input_of(graph.nodes["stem.input/Conv"], 1)) == "stem.input.weight"
    assert name_of(input_of(graph.nodes["blocks.0.fc1/MatMul"], 1)) == "blocks.0.fc1.weight"
    assert ("blocks.0.fc1/MatMul", 0) not in pairs(graph)
    with pytest.raises(ConfigError, match="no layer nowhere/Conv in the graph; expected float_layers to name"):
        quantize_graph(tiny_graph(), replace(ranges, float_layers=("nowhere/Conv",)))
    every = tuple(layer.name for layer in tiny_graph().layers)
    with pytest.raises(ConfigError, match="no layer would be int8"):
        quantize_graph(tiny_graph(), replace(ranges, float_layers=every))


def test_ranges_of_another_model_are_refused() -> None:
    ranges = tiny_ranges()
    tensors = {name: value for name, value in ranges.tensors.items() if name != "stem.blocks.0/Add"}
    with pytest.raises(DataError, match=r"no tensor stem\.blocks\.0/Add: they are of another model"):
        quantize_graph(tiny_graph(), replace(ranges, tensors=tensors))


def test_int8_in_a_half_graph_has_half_scales() -> None:
    model = tiny_int8("fp16")
    graph = TypedGraph.parse(model.to_bytes())
    dequantized = [node for node in graph.nodes.values() if node.op_type == "DequantizeLinear"]
    assert {node.outputs[0].dtype for node in dequantized} == {ir.DataType.FLOAT16}
    assert graph.model.opset_imports == {"": 19}
    keys = [entry.key for entry in onnx.load_from_string(model.to_bytes()).metadata_props]
    assert keys.count(HALF_SCALES) == 1  # ONNX Runtime's engine switches off an optimizer that fails with them
    assert "labels" in keys and len(keys) == len(set(keys))
    a, b = run("onnxruntime", model).label_logits, run("onnxruntime", tiny_graph()).label_logits
    assert np.abs(a - b).max() < 0.15 * np.abs(b).max()


def test_macs_match_a_count_by_hand() -> None:
    weight: Any = np.zeros((6, 2, 3, 3), np.float32)
    linear = np.zeros((5, 7), np.float32)
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["c"], "conv", group=2, pads=[1, 1, 1, 1], strides=[2, 2]),
        onnx.helper.make_node("Reshape", ["c", "shape"], ["r"], "reshape"),
        onnx.helper.make_node("MatMul", ["r", "l"], ["m"], "linear"),
        onnx.helper.make_node("Transpose", ["m"], ["t"], "transpose", perm=[0, 2, 1]),
        onnx.helper.make_node("MatMul", ["t", "m"], ["y"], "product"),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "macs",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 4, 10, 10])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 7, 7])],
        [
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(linear, "l"),
            numpy_helper.from_array(np.array([-1, 30, 5], np.int64), "shape"),
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    macs = {layer.name: layer.macs for layer in TypedGraph.parse(model.SerializeToString()).layers}
    # 6 maps of 5 x 5, each from 2 of 4 channels through 3 x 3; 30 rows of 5 to 7; 7 x 7 from 30.
    assert macs == {"conv": 6 * 25 * 2 * 9, "linear": 30 * 5 * 7, "product": 7 * 7 * 30}
