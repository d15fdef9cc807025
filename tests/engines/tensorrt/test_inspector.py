"""The engine inspector's JSON in the formats of TensorRT 10 and 11, as proof of precision."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from fer_edge.engines.base import BuildRequest, ExecutedOperator
from fer_edge.engines.registry import get_engine
from fer_edge.engines.tensorrt import inspector
from fer_edge.engines.tensorrt.api import LOG
from fer_edge.engines.tensorrt.inspector import operators_of_engine, operators_of_layers
from fer_edge.errors import EngineError
from fer_edge.graph.precision import prove_precision, typed_precision
from fer_edge.graph.typed_graph import TypedGraph
from tests.builder_double import install_builder
from tests.calibration.tiny_ranges import tiny_int8
from tests.tiny import tiny_onnx

FORMATS = {
    "fp32": "Row major linear FP32",
    "fp16": "Channel major FP16 format where channel % 8 == 0",
    "int8": "Thirty-two wide channel vectorized row major Int8 format",
}
TYPES = {"fp32": "Float", "fp16": "Half", "int8": "Int8"}


def tensor(name: str, precision: str, form: str = "10") -> dict[str, Any]:
    """Return a layer's input or output in the format of TensorRT 10, of its Myelin compiler ("kgen") or TensorRT 11."""
    types = {
        "10": {"Format/Datatype": FORMATS[precision]},
        "kgen": {"Format/Datatype": TYPES[precision]},
        "11": {"Format": f"{FORMATS[precision]} (kLINEAR)", "DataType": TYPES[precision]},
    }
    return {"Name": name, "Location": "Device", "Dimensions": [1, 8, 56, 56], **types[form]}


def layer(kind: str, input_type: str, output_type: str, *nodes: str, form: str = "10", **more: Any) -> dict[str, Any]:
    return {
        "Name": " + ".join(nodes) or "Reformatting CopyNode for Input Tensor 0 to stem.input/Conv",
        "LayerType": kind,
        "Inputs": [tensor("in", input_type, form)],
        "Outputs": [tensor("out", output_type, form)],
        "TacticValue": "0x0",
        "StreamId": 0,
        "Metadata": "".join(f"[ONNX Layer: {node}]" for node in nodes),
        **more,
    }


def inspector_json(*layers: Any, **more: Any) -> str:
    return json.dumps({"Layers": layers, "Bindings": ["images", "probabilities"], **more})


def only_operator(text: str) -> ExecutedOperator:
    (operator,) = operators_of_layers(text)
    return operator


@pytest.mark.parametrize("form", ["10", "kgen", "11"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_each_type_in_each_format(precision: str, form: str) -> None:
    text = inspector_json(layer("CaskConvolution", precision, precision, "stem.input/Conv", form=form))
    assert only_operator(text) == ExecutedOperator("CaskConvolution", precision, ("stem.input/Conv",), True)


def test_fused_layer_names_all_its_nodes() -> None:
    nodes = ("quantize a/Conv[0]", "a/Conv", "a/PRelu", "quantize b/Conv[0]")
    fused = layer("CaskConvolution", "int8", "int8", *nodes)
    assert only_operator(inspector_json(fused)).names == nodes
    # TensorRT 10 separates the names with control characters, which it does not escape.
    separated = inspector_json(fused).replace("][", "]\x1f[")
    assert only_operator(separated).names == nodes


def test_layer_without_metadata_is_identified_by_name() -> None:
    plain = layer("CaskConvActPool", "fp16", "fp16", "a/Conv", "a/Relu")
    del plain["Metadata"]
    assert only_operator(inspector_json(plain)).names == ("a/Conv", "a/Relu")


@pytest.mark.parametrize(
    ("input_type", "output_type", "more", "precision"),
    [
        ("int8", "fp16", {}, "int8"),  # an int8 product with fp16 output
        ("fp16", "int8", {}, "fp16"),  # an fp16 product that quantises its output
        ("fp16", "fp16", {"Weights": {"Type": "Int8", "Count": 108}}, "int8"),
        # The kernel's name takes precedence: here the first input is a residual.
        ("fp16", "fp16", {"TacticName": "sm80_xmma_gemm_i8i8_i8i32_f32_tn_n_tilesize64x32x64"}, "int8"),
        ("fp32", "fp32", {"TacticName": "sm80_xmma_gemm_f32f32_tf32f32_f32_nn_n_tilesize32x32"}, "fp32"),
    ],
)
def test_precision_of_a_product_is_that_of_its_factors(
    input_type: str, output_type: str, more: dict[str, Any], precision: str
) -> None:
    operator = only_operator(inspector_json(layer("gemm", input_type, output_type, "a/MatMul", form="kgen", **more)))
    assert (operator.precision, operator.multiplies) == (precision, True)


@pytest.mark.parametrize(
    ("kind", "tactic", "multiplies"),
    [
        ("correlation", "", True),  # Myelin's convolution
        ("fusion", "sm80_xmma_gemm_f16f16_f16f16_f16_nn_n", True),
        ("kgen", "_gemm_mha_v2_0x1", True),
        ("kgen", "__myl_AddCastMeanSubMulMeanAddSqrtDiv_0xf2", False),
        ("Reformat", "", False),
        ("PointWiseV2", "", False),
    ],
)
def test_multiplying_layers_are_recognised(kind: str, tactic: str, multiplies: bool) -> None:
    operator = only_operator(inspector_json(layer(kind, "fp16", "fp16", "a/Node", TacticName=tactic)))
    assert (operator.kind, operator.multiplies) == (kind, multiplies)


def test_constants_and_synchronisation_are_not_operators() -> None:
    layers = [layer(kind, "fp32", "fp32") for kind in ("Constant", "NoOp", "signal")]
    assert operators_of_layers(inspector_json(*layers)) == ()


def test_other_types_keep_tensorrts_name() -> None:
    odd = layer("gemm", "fp16", "fp16", "a/MatMul")
    odd["Inputs"][0]["Format/Datatype"] = "Row major linear INT4 format"
    assert only_operator(inspector_json(odd)).precision == "int4"
    odd["Inputs"][0]["Format/Datatype"] = "Unknown format"
    assert only_operator(inspector_json(odd)).precision == "unknown"
    odd["Inputs"] = "damaged"
    assert only_operator(inspector_json(odd)).precision == "unknown"


def test_names_without_details_give_no_operators() -> None:
    assert operators_of_layers(inspector_json("stem.input/Conv + stem.input/PRelu", "blocks.0/MatMul")) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (inspector_json(layer("gemm", "fp16", "fp16", "a"))[:-40], r"JSON that cannot be parsed \(.*\): '\{\"Layers\""),
        ("", "JSON that cannot be parsed"),
        ("[" * 100_000, "JSON that cannot be parsed"),
        ("[]", r"no list of Layers: '\[\]'"),
        ('{"Layers": 4}', "no list of Layers"),
    ],
)
def test_damaged_json_is_an_engine_error(text: str, message: str) -> None:
    with pytest.raises(EngineError, match=f"the engine inspector gave {message}"):
        operators_of_layers(text)


def test_huge_json_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspector, "MAX_CHARACTERS", 1 << 20)
    with pytest.raises(EngineError, match="gave 2 MB; expected at most 1"):
        operators_of_layers(" " * (2 << 20))


def int8_graph() -> tuple[TypedGraph, dict[str, str]]:
    """Return the tiny model in int8, and the precision of each layer."""
    graph = tiny_int8()
    return graph, {layer.name: typed_precision(graph.nodes[layer.name]) for layer in graph.layers}


def test_precision_is_proven_from_the_engine() -> None:
    model, typed = int8_graph()
    layers = [layer("gemm", precision, "fp32", name) for name, precision in typed.items()]
    network = tuple(ExecutedOperator("CONVOLUTION", "fp16", (name,), True, reported_by_engine=False) for name in typed)
    proof = prove_precision(model, operators_of_engine(inspector_json(*layers), network))
    assert proof.fallbacks == () and set(proof.macs) == {"fp32", "int8"} and proof.unverified == 0
    fallback = next(name for name, precision in typed.items() if precision == "int8")
    layers[list(typed).index(fallback)] = layer("CaskConvolution", "fp16", "fp16", fallback)
    proof = prove_precision(model, operators_of_engine(inspector_json(*layers), network))
    assert proof.fallbacks == (f"{fallback}: typed int8, runs in fp16",)


def test_network_gives_the_types_that_the_inspector_lacks() -> None:
    model, typed = int8_graph()
    network = tuple(
        ExecutedOperator("CONVOLUTION", precision, (name,), True, reported_by_engine=False)
        for name, precision in typed.items()
    )
    untyped = layer("gemm", "fp16", "fp16", next(iter(typed)))
    untyped["Inputs"] = []
    half = [layer("gemm", precision, "fp32", name) for name, precision in list(typed.items())[5:]]
    shares = []
    for text in (None, inspector_json("names", "alone"), inspector_json(untyped, *half)):
        proof = prove_precision(model, operators_of_engine(text, network))
        assert proof.fallbacks == ()
        shares.append(proof.unverified)
    assert shares[:2] == [1, 1] and 0 < shares[2] < 1


def test_engine_with_damaged_inspector_json_is_kept(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bindings = install_builder(monkeypatch)
    bindings.layers_json = '{"Layers": [{"Name'
    monkeypatch.setattr(LOG, "disabled", False)  # libraries that configure logging disable other loggers
    with caplog.at_level(logging.WARNING, LOG.name):
        assert get_engine("tensorrt").build(tiny_onnx(), BuildRequest()).file
    assert "JSON that cannot be parsed" in caplog.text
    assert "its precision is proven from the network it was built from" in caplog.text
    bindings.layers_json = inspector_json(layer("gemm", "fp16", "fp16", "a/MatMul"))
    built = get_engine("tensorrt").build(tiny_onnx(), BuildRequest())
    assert built.operators == (ExecutedOperator("gemm", "fp16", ("a/MatMul",), True),)
