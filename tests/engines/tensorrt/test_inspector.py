"""The engine inspector's JSON, in the forms of TensorRT 10 and 11, as a proof of precision."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from fer_edge.calibration.graph import Graph
from fer_edge.calibration.qdq import quantize_graph
from fer_edge.engines.base import BuildRequest, ExecutedOperator
from fer_edge.engines.registry import get_engine
from fer_edge.engines.tensorrt import engine as engine_module
from fer_edge.engines.tensorrt import inspector
from fer_edge.engines.tensorrt.api import Api
from fer_edge.engines.tensorrt.callbacks import LOG
from fer_edge.engines.tensorrt.inspector import operators_of_engine, operators_of_layers
from fer_edge.errors import EngineError
from fer_edge.export.precision import prove_precision, typed_precision
from tests.builder_double import BuilderBindings
from tests.calibration.tiny_ranges import tiny_graph, tiny_ranges
from tests.cuda_double import Gpu
from tests.tiny import tiny_onnx

FORMATS = {
    "fp32": "Row major linear FP32",
    "fp16": "Channel major FP16 format where channel % 8 == 0",
    "int8": "Thirty-two wide channel vectorized row major Int8 format",
}
TYPES = {"fp32": "Float", "fp16": "Half", "int8": "Int8"}


def tensor(name: str, precision: str, form: str = "10") -> dict[str, Any]:
    """A layer's input or output, as TensorRT 10 tells it, its Myelin part ("kgen") or TensorRT 11."""
    told = {
        "10": {"Format/Datatype": FORMATS[precision]},
        "kgen": {"Format/Datatype": TYPES[precision]},
        "11": {"Format": f"{FORMATS[precision]} (kLINEAR)", "DataType": TYPES[precision]},
    }
    return {"Name": name, "Location": "Device", "Dimensions": [1, 8, 56, 56], **told[form]}


def layer(kind: str, reads: str, gives: str, *nodes: str, form: str = "10", **more: Any) -> dict[str, Any]:
    return {
        "Name": " + ".join(nodes) or "Reformatting CopyNode for Input Tensor 0 to stem.input/Conv",
        "LayerType": kind,
        "Inputs": [tensor("in", reads, form)],
        "Outputs": [tensor("out", gives, form)],
        "TacticValue": "0x0",
        "StreamId": 0,
        "Metadata": "".join(f"[ONNX Layer: {node}]" for node in nodes),
        **more,
    }


def told(*layers: Any, **more: Any) -> str:
    return json.dumps({"Layers": layers, "Bindings": ["images", "probabilities"], **more})


def only(text: str) -> ExecutedOperator:
    (operator,) = operators_of_layers(text)
    return operator


@pytest.mark.parametrize("form", ["10", "kgen", "11"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_each_type_in_each_form(precision: str, form: str) -> None:
    found = only(told(layer("CaskConvolution", precision, precision, "stem.input/Conv", form=form)))
    assert found == ExecutedOperator("CaskConvolution", precision, ("stem.input/Conv",), True)


def test_a_fused_layer_names_every_node_that_went_into_it() -> None:
    nodes = ("quantize a/Conv[0]", "a/Conv", "a/PRelu", "quantize b/Conv[0]")
    fused = layer("CaskConvolution", "int8", "int8", *nodes)
    assert only(told(fused)).names == nodes
    # TensorRT 10 has control characters between them, and writes them as they are.
    parted = told(fused).replace("][", "]\x1f[")
    assert only(parted).names == nodes


def test_without_metadata_the_name_tells() -> None:
    plain = layer("CaskConvActPool", "fp16", "fp16", "a/Conv", "a/Relu")
    del plain["Metadata"]
    assert only(told(plain)).names == ("a/Conv", "a/Relu")


@pytest.mark.parametrize(
    ("reads", "gives", "more", "precision"),
    [
        ("int8", "fp16", {}, "int8"),  # an int8 product that leaves as fp16
        ("fp16", "int8", {}, "fp16"),  # an fp16 product that is quantised on the way out
        ("fp16", "fp16", {"Weights": {"Type": "Int8", "Count": 108}}, "int8"),
        # The kernel knows best: here it reads a residual first.
        ("fp16", "fp16", {"TacticName": "sm80_xmma_gemm_i8i8_i8i32_f32_tn_n_tilesize64x32x64"}, "int8"),
        ("fp32", "fp32", {"TacticName": "sm80_xmma_gemm_f32f32_tf32f32_f32_nn_n_tilesize32x32"}, "fp32"),
    ],
)
def test_a_product_is_of_what_it_multiplies(reads: str, gives: str, more: dict[str, Any], precision: str) -> None:
    found = only(told(layer("gemm", reads, gives, "a/MatMul", form="kgen", **more)))
    assert (found.precision, found.multiplies) == (precision, True)


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
def test_what_multiplies(kind: str, tactic: str, multiplies: bool) -> None:
    found = only(told(layer(kind, "fp16", "fp16", "a/Node", TacticName=tactic)))
    assert (found.kind, found.multiplies) == (kind, multiplies)


def test_constants_and_waiting_are_no_operators() -> None:
    assert operators_of_layers(told(*(layer(kind, "fp32", "fp32") for kind in ("Constant", "NoOp", "signal")))) == ()


def test_a_type_of_no_name_here_is_told_in_tensorrts_words() -> None:
    odd = layer("gemm", "fp16", "fp16", "a/MatMul")
    odd["Inputs"][0]["Format/Datatype"] = "Row major linear INT4 format"
    assert only(told(odd)).precision == "int4"
    odd["Inputs"][0]["Format/Datatype"] = "Unknown format"
    assert only(told(odd)).precision == "unknown"
    odd["Inputs"] = "damaged"
    assert only(told(odd)).precision == "unknown"


def test_names_alone_prove_nothing() -> None:
    assert operators_of_layers(told("stem.input/Conv + stem.input/PRelu", "blocks.0/MatMul")) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (told(layer("gemm", "fp16", "fp16", "a"))[:-40], r"no JSON that can be read \(.*\): '\{\"Layers\""),
        ("", "no JSON that can be read"),
        ("[" * 100_000, "no JSON that can be read"),
        ("[]", r"no list of Layers: '\[\]'"),
        ('{"Layers": 4}', "no list of Layers"),
    ],
)
def test_a_damaged_text_is_an_engine_error(text: str, message: str) -> None:
    with pytest.raises(EngineError, match=f"the engine inspector gave {message}"):
        operators_of_layers(text)


def test_a_text_beyond_all_measure_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspector, "LARGEST", 1 << 20)
    with pytest.raises(EngineError, match="gave 2 MB; expected at most 1"):
        operators_of_layers(" " * (2 << 20))


def int8_graph() -> tuple[bytes, dict[str, str]]:
    """The tiny model in int8 and its layers' types."""
    model = quantize_graph(tiny_graph(), tiny_ranges())
    graph = Graph.parse(model)
    return model, {found.name: typed_precision(graph, found) for found in graph.layers()}


def test_the_proof_is_read_from_the_engine() -> None:
    model, typed = int8_graph()
    layers = [layer("gemm", precision, "fp32", name) for name, precision in typed.items()]
    network = tuple(ExecutedOperator("CONVOLUTION", "fp16", (name,), True, reported_by_engine=False) for name in typed)
    found = prove_precision(model, operators_of_engine(told(*layers), network))
    assert found.fallbacks == () and set(found.macs) == {"fp32", "int8"} and found.unverified == 0
    fell = next(name for name, precision in typed.items() if precision == "int8")
    layers[list(typed).index(fell)] = layer("CaskConvolution", "fp16", "fp16", fell)
    found = prove_precision(model, operators_of_engine(told(*layers), network))
    assert found.fallbacks == (f"{fell}: typed int8, runs in fp16",)


def test_the_network_tells_what_the_engine_leaves_open() -> None:
    model, typed = int8_graph()
    network = tuple(
        ExecutedOperator("CONVOLUTION", precision, (name,), True, reported_by_engine=False)
        for name, precision in typed.items()
    )
    silent = layer("gemm", "fp16", "fp16", next(iter(typed)))
    silent["Inputs"] = []
    half = [layer("gemm", precision, "fp32", name) for name, precision in list(typed.items())[5:]]
    shares = []
    for text in (None, told("names", "alone"), told(silent, *half)):
        found = prove_precision(model, operators_of_engine(text, network))
        assert found.fallbacks == ()
        shares.append(found.unverified)
    assert shares[:2] == [1, 1] and 0 < shares[2] < 1


def test_an_engine_whose_inspector_fails_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    double: Any = BuilderBindings(Gpu())
    monkeypatch.setattr(engine_module, "find_api", lambda product: Api(product, double, double.__version__))
    monkeypatch.setattr(engine_module, "compute_capability", lambda: "sm89")
    double.inspected = '{"Layers": [{"Name'
    monkeypatch.setattr(LOG, "disabled", False)  # libraries that set logging up disable the loggers they do not know
    with caplog.at_level(logging.WARNING, LOG.name):
        assert get_engine("tensorrt").build(tiny_onnx(), BuildRequest()).file
    assert "no JSON that can be read" in caplog.text
    assert "its precision is proven from the network it was built from" in caplog.text
    double.inspected = told(layer("gemm", "fp16", "fp16", "a/MatMul"))
    built = get_engine("tensorrt").build(tiny_onnx(), BuildRequest())
    assert built.operators == (ExecutedOperator("gemm", "fp16", ("a/MatMul",), True),)
