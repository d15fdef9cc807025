"""Unsigned activations: places, values and engines."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from fer_edge.calibration.histograms import measure
from fer_edge.engines.base import Artifact, BuildRequest, RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.export.onnx_graph import onnx_from_checkpoint
from fer_edge.graph.precision import prove_precision
from fer_edge.graph.qdq import quantize_graph
from fer_edge.graph.ranges import Ranges
from fer_edge.graph.typed_graph import TypedGraph, array_of, input_of
from fer_edge.model.config import StemConfig
from fer_edge.model.ferformer import FERFormer
from tests.calibration.tiny_ranges import tiny_graph, tiny_images, tiny_int8, tiny_ranges
from tests.tiny_model import checkpoint_of, settle, tiny_config

# Multiples of 16 channels: OpenVINO has int8 kernels for these.
STEM = StemConfig(kind="separable", color="grey", input_width=16, input_stride=4, widths=(16, 32), units=(2, 2))


@cache
def separable_graph() -> TypedGraph:
    torch.manual_seed(0)
    return onnx_from_checkpoint(checkpoint_of(settle(FERFormer(tiny_config(stem=STEM, grid=7, patches=(7,))))), "fp32")


@cache
def separable_ranges() -> Ranges:
    return measure(separable_graph(), "of no file", tiny_images())


@cache
def signed_graph() -> TypedGraph:
    """Return the graph whose depthwise convolutions are int8 too."""
    return quantize_graph(separable_graph(), replace(separable_ranges(), layer_kinds=("conv", "depthwise", "linear")))


@cache
def unsigned_graph() -> TypedGraph:
    return quantize_graph(separable_graph(), separable_ranges(), unsigned=True)


def quantisers(graph: TypedGraph) -> dict[str, tuple[np.dtype, float]]:
    """Return type and scale of each quantiser of an activation, by name."""
    nodes = [node for node in graph.nodes.values() if node.op_type == "QuantizeLinear"]
    return {str(node.name): (array_of(input_of(node, 2)).dtype, float(array_of(input_of(node, 1)))) for node in nodes}


def logits(engine: str, graph: TypedGraph) -> np.ndarray:
    with get_engine(engine).load(Artifact(graph.to_bytes(), None, 16), RunOptions(threads=1)) as runner:
        return np.asarray(runner.infer(next(tiny_images().batches(16))).label_logits)


def test_quantisers_in_uint8_replace_the_activations() -> None:
    signed, graph = signed_graph(), unsigned_graph()
    # Nine of the stem; another one is part of a normalisation.
    assert (signed.operator_types()["Clip"], graph.operator_types()["Clip"]) == ({"float": 10}, {"float": 1})
    dtype, scale = quantisers(graph)["quantize stem.blocks.1.3/Clip"]
    magnitude = separable_ranges().magnitude("stem.blocks.1.3/Clip")
    assert dtype == np.uint8 and scale == pytest.approx(min(magnitude, 6) / 255, rel=1e-6)
    # One pair for each activation, whose output is that of the node; linear layers keep signed pairs.
    unsigned = [name for name, (dtype, _) in quantisers(graph).items() if dtype == np.uint8]
    assert len(unsigned) == 9 and len(quantisers(graph)) < len(quantisers(signed))
    assert all(value.uses() for value in graph.model.graph.initializers.values())


def test_engines_agree_and_are_close_to_the_float_graph() -> None:
    expected = logits("onnxruntime", separable_graph())
    openvino, onnxruntime = (logits(engine, unsigned_graph()) for engine in ("openvino", "onnxruntime"))
    for values in (openvino, onnxruntime):
        assert 0 < np.abs(values - expected).mean() < 0.1 * expected.std()
    assert np.abs(openvino - onnxruntime).mean() < 0.02 * expected.std()


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_engines_run_separable_convolutions_in_int8(engine: str) -> None:
    graph = unsigned_graph()
    built = get_engine(engine).build(graph.to_bytes(), BuildRequest("int8", (), 16))
    proof = prove_precision(graph, built.operators)
    assert proof.fallbacks == () and proof.macs["int8"] > 0.9


def test_float_convolution_between_pairs_keeps_its_activation() -> None:
    name = "stem.blocks.1.0/Conv"
    ranges = replace(separable_ranges(), float_layers=(name,))
    graph = quantize_graph(separable_graph(), ranges, unsigned=True)
    (follower,) = graph.nodes[name].successors()
    assert follower.op_type == "Clip"
    built = get_engine("onnxruntime").build(graph.to_bytes(), BuildRequest("int8", (), 16))
    assert prove_precision(graph, built.operators).fallbacks == ()


def test_graph_without_such_activations_stays_as_it_is() -> None:
    assert quantize_graph(tiny_graph(), tiny_ranges(), unsigned=True).to_bytes() == tiny_int8().to_bytes()
