"""Parses and serialisations of a graph from its export to the bundle, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from fer_edge.bundle import MODEL, Bundle
from fer_edge.calibration.histograms import measure
from fer_edge.calibration.score import Scorer
from fer_edge.calibration.sensitivity import find_float_layers
from fer_edge.engines.base import RunOptions
from fer_edge.export.add_engine import add_engine
from fer_edge.export.build import build
from fer_edge.graph.qdq import chosen_layers, quantize_graph
from fer_edge.graph.typed_graph import TypedGraph
from tests.calibration.tiny_ranges import TinyCalibration, tiny_graph, tiny_images, tiny_ranges
from tests.tiny_model import tiny_checkpoint

PARSERS = ((onnx, "load_from_string"), (onnx, "load_model_from_string"), (onnx.shape_inference, "infer_shapes"))


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count parses from bytes, conversions from protobuf and serialisations to bytes."""
    counted: Counter[str] = Counter()

    def count(owner: Any, name: str, kind: str) -> None:
        function: Callable[..., Any] = getattr(owner, name)

        def counting(*arguments: Any, **options: Any) -> Any:
            counted[kind] += 1
            return function(*arguments, **options)

        monkeypatch.setattr(owner, name, counting)

    for owner, name in PARSERS:
        count(owner, name, "parses")
    count(onnx.ModelProto, "ParseFromString", "parses")
    count(onnx.ModelProto, "SerializeToString", "serialisations")
    return counted


def exported() -> TypedGraph:
    """Return the tiny graph as the exporter makes it: not serialised yet."""
    return TypedGraph(tiny_graph().model)


def test_counters_count(counts: Counter[str]) -> None:
    graph = exported()
    counts.clear()
    data = graph.to_bytes()
    assert counts == {"serialisations": 1}
    TypedGraph.parse(data)
    assert counts["parses"] > 0
    onnx.load_from_string(data).SerializeToString()
    assert counts["serialisations"] == 2


def test_int8_bundle_of_two_engines_needs_one_serialisation(
    counts: Counter[str], monkeypatch: pytest.MonkeyPatch, tiny_calibration: TinyCalibration, tmp_path: Path
) -> None:
    tiny, out = tiny_calibration, tmp_path / "int8.fer"
    monkeypatch.setattr("fer_edge.export.onnx_graph.onnx_from_checkpoint", lambda checkpoint, precision: exported())
    counts.clear()
    build(tiny.checkpoint, out, engines=["openvino", "onnxruntime"], precision="int8", ranges=tiny.ranges)
    assert counts == {"serialisations": 1}
    counts.clear()
    add_engine(out, out, engine="onnxruntime")
    assert counts["serialisations"] == 0  # the bundle's own bytes are compiled
    assert TypedGraph.parse(Bundle.open(out).read(MODEL)).to_bytes() == Bundle.open(out).read(MODEL)


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_export")
def test_export_returns_a_graph_without_a_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    from fer_edge.export.onnx_graph import onnx_from_checkpoint

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("parsed from bytes")

    for owner, name in PARSERS[:2]:
        monkeypatch.setattr(owner, name, refuse)
    assert isinstance(onnx_from_checkpoint(tiny_checkpoint()).model, ir.Model)


def test_search_serialises_each_graph_that_it_runs_once(counts: Counter[str]) -> None:
    graph, images = exported(), tiny_images()
    counts.clear()
    ranges = measure(graph, "of no file", images, "minmax")
    assert counts == {"serialisations": 1}  # with its activations as outputs
    faces = replace(images.faces, labels=np.arange(len(images.faces)) % 3)
    scorer = Scorer(graph, faces, "onnxruntime", RunOptions(threads=1))
    assert counts == {"serialisations": 2}
    layers = chosen_layers(graph, ranges)
    few = replace(ranges, float_layers=tuple(layer.name for layer in layers[3:]))
    result = find_float_layers(graph, few, scorer, 100)
    steps = len(result.alone) + len(result.together) + len(result.beyond)
    assert len(result.alone) == 3
    assert counts == {"serialisations": 2 + steps}


def test_rewrites_leave_their_graph_as_it_was() -> None:
    graph = exported()
    before = graph.to_bytes()
    quantize_graph(graph, tiny_ranges())
    assert TypedGraph(graph.model).to_bytes() == before
