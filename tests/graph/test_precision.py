"""Operators that engines report, compared with the typed graph."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fer_edge.engines.base import BuildRequest, ExecutedOperator
from fer_edge.engines.registry import get_engine
from fer_edge.errors import EngineError
from fer_edge.export.onnx_graph import onnx_from_checkpoint
from fer_edge.graph.precision import PrecisionProof, prove_precision
from fer_edge.graph.qdq import chosen_layers, quantize_graph
from fer_edge.graph.typed_graph import TypedGraph
from fer_edge.model.config import StemConfig
from tests.calibration.tiny_ranges import tiny_graph, tiny_int8, tiny_ranges
from tests.tiny_model import tiny_checkpoint

CPU = ["openvino", "onnxruntime"]


def proof(engine: str, graph: TypedGraph) -> PrecisionProof:
    return prove_precision(graph, get_engine(engine).build(graph.to_bytes(), BuildRequest(max_batch=4)).operators)


def hand_count() -> tuple[int, int]:
    """Count the multiply-accumulates of the tiny model's int8 layers and of all, from its configuration."""
    convolutions = 56 * 56 * 8 * 27  # 3 channels to 8, at 56 x 56
    for width_in, width, size in ((8, 8, 56), (8, 8, 28), (8, 12, 28), (12, 12, 14)):
        stride = 2 if size in (56,) or (width_in, width) == (8, 12) else 1
        convolutions += size * size * width * width_in * 9
        convolutions += (size // stride) ** 2 * width * width * 9
    convolutions += 14 * 14 * 12 * 8  # the one shortcut that changes width
    depthwise = 12 * 12 * 12 * 9  # the position encoding
    tokens = 2 + 36 + 9 + 4 + 1
    patches = 36 * 16 * 4 * 12 + 9 * 16 * 16 * 12 + 4 * 16 * 36 * 12 + 16 * 144 * 12
    full = tokens * 16 * 16 * 4 + 2 * tokens * 16 * 64  # query, key, value, projection; two of the MLP
    last = (2 * tokens + 2 * 2) * 16 * 16 + 2 * 2 * 16 * 64  # only two rows are read
    attention = 2 * tokens * tokens * 16 + 2 * 2 * tokens * 16
    heads = 2 * 16 * 8
    int8 = convolutions + patches + full + last
    return int8, int8 + depthwise + attention + heads


def test_share_of_int8_matches_a_count_by_hand() -> None:
    int8, total = hand_count()
    graph = tiny_graph()
    assert sum(layer.macs for layer in graph.layers) == total
    assert sum(layer.macs for layer in chosen_layers(graph, tiny_ranges())) == int8
    for engine in CPU:
        result = proof(engine, tiny_int8())
        assert result.fallbacks == ()
        assert result.macs == {"fp32": round(1 - int8 / total, 4), "int8": round(int8 / total, 4)}
        assert result.operators["int8"] >= 20


@pytest.mark.parametrize("engine", CPU)
def test_float_graph_runs_in_float(engine: str) -> None:
    result = proof(engine, tiny_graph())
    assert result.macs == {"fp32": 1.0}
    result.check(engine)


@pytest.mark.parametrize("engine", CPU)
def test_convolutions_with_fused_activations_are_found(engine: str) -> None:
    """ONNX Runtime names them after the activation."""
    stem = StemConfig(kind="separable", color="grey", input_width=16, input_stride=2, widths=(16, 16), units=(1, 1))
    graph = onnx_from_checkpoint(tiny_checkpoint(stem=stem, grid=14, patches=(7,)))
    result = proof(engine, graph)
    assert result.fallbacks == () and result.macs == {"fp32": 1.0}


@pytest.mark.parametrize("engine", CPU)
def test_cpus_run_half_in_float_which_is_an_error(engine: str) -> None:
    result = proof(engine, tiny_graph("fp16"))
    assert result.macs == {"fp32": 1.0}
    with pytest.raises(
        EngineError, match=rf"{engine} does not run \d+ layers in the precision of the graph: stem\.input/Conv: "
    ):
        result.check(engine)


def test_float_layers_are_not_fallbacks() -> None:
    ranges = replace(tiny_ranges(), float_layers=("stem.input/Conv",))
    result = proof("openvino", quantize_graph(tiny_graph(), ranges))
    assert result.fallbacks == ()
    assert result.macs["fp32"] > proof("openvino", tiny_int8()).macs["fp32"]


def test_fallback_is_named() -> None:
    """OpenVINO runs a linear layer in float if another weight uses the same zero points: planted here."""
    import onnx

    model = onnx.load_from_string(tiny_int8().to_bytes())
    sizes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    dequantized = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    weights = [node for node in dequantized if sizes[node.input[2]] == (16,)]
    for node in weights:
        node.input[2] = weights[0].input[2]
    result = proof("openvino", TypedGraph.parse(model.SerializeToString()))
    assert "blocks.0.attention.key/MatMul: typed int8, runs in fp32" in result.fallbacks
    with pytest.raises(
        EngineError, match=r"openvino does not run .* layers .*blocks\.0\.attention\..*--allow-fallback"
    ):
        result.check("openvino")


def test_engine_without_a_report_proves_nothing() -> None:
    result = prove_precision(tiny_graph(), ())
    assert result.macs == {"unknown": 1.0} and not result.operators and not result.fallbacks


def test_only_whole_names_match() -> None:
    def operators(*names: str) -> list[ExecutedOperator]:
        return [ExecutedOperator("x", "int8", (name,), True) for name in names]

    second = prove_precision(tiny_graph(), operators("blocks.0.attention/MatMul.2"))
    first = prove_precision(tiny_graph(), operators("blocks.0.attention/MatMul_token_7"))
    layers = {layer.name: layer.macs for layer in tiny_graph().layers}
    total = sum(layers.values())
    assert second.macs["int8"] == round(layers["blocks.0.attention/MatMul.2"] / total, 4)
    assert first.macs["int8"] == round(layers["blocks.0.attention/MatMul"] / total, 4)


@pytest.mark.parametrize(
    ("precision", "float_precision"), [("fp32", "fp32"), ("fp16", "fp16"), ("fp32", "int8"), ("fp16", "int8")]
)
def test_tensorrt_rtx_networks_keep_their_types(precision: Any, float_precision: str) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed; it has wheels for x86-64 only")
    graph = tiny_int8(precision) if float_precision == "int8" else tiny_graph(precision)
    built = get_engine("tensorrt-rtx").build(
        graph.to_bytes(), BuildRequest(targets=("sm86", "sm89", "sm120"), max_batch=4)
    )
    result = prove_precision(graph, built.operators)
    assert result.fallbacks == ()
    assert max(result.macs, key=lambda name: result.macs[name]) == float_precision
    assert result.unverified == 1  # no GPU of these architectures to inspect the engine on
