"""Per-tensor comparison: equal graphs agree, and a planted difference is located."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fer_edge.errors import ConfigError, DataError, EngineError
from fer_edge.evaluation.tensors import (
    BEST,
    THRESHOLDS,
    common_tensors,
    compare_graphs,
    groups,
    plot_tensors,
    tensor_reader,
)
from fer_edge.graph.typed_graph import TypedGraph
from tests.calibration.tiny_ranges import tiny_graph, tiny_images, tiny_int8

BATCHES = [next(tiny_images().batches(4))]


def altered(weight: str, factor: float) -> TypedGraph:
    model = onnx.load_from_string(tiny_graph().to_bytes())
    for tensor in model.graph.initializer:
        if tensor.name == weight:
            tensor.CopyFrom(
                numpy_helper.from_array((numpy_helper.to_array(tensor) * factor).astype(np.float32), weight)
            )
    return TypedGraph.parse(model.SerializeToString())


def test_equal_graphs_agree() -> None:
    report = compare_graphs(("onnxruntime", tiny_graph()), ("onnxruntime", tiny_graph()), BATCHES, THRESHOLDS["fp32"])
    assert report.first is None
    assert {tensor.sqnr for tensor in report.tensors} == {BEST}
    assert report.tensors[-1].name == "probabilities"


def test_engines_agree_on_float_tensors() -> None:
    report = compare_graphs(("openvino", tiny_graph()), ("onnxruntime", tiny_graph()), BATCHES, THRESHOLDS["fp32"])
    assert report.first is None
    assert len(report.tensors) > 80


def test_first_diverged_tensor_is_named() -> None:
    planted = altered("blocks.0.fc1.weight", 1.05)
    report = compare_graphs(("onnxruntime", planted), ("onnxruntime", tiny_graph()), BATCHES, 60.0)
    assert report.first is not None
    assert report.first.name == "blocks.0.fc1/MatMul"
    assert report.first.sqnr == pytest.approx(-20 * np.log10(0.05), abs=0.01)
    assert report.first.cosine == pytest.approx(1)
    assert report.first.largest == pytest.approx(0.05 * report.first.peak, rel=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_tensor_has_diverged(value: float) -> None:
    report = compare_graphs(
        ("onnxruntime", altered("blocks.0.fc1.weight", value)), ("onnxruntime", tiny_graph()), BATCHES, 60.0
    )
    assert report.first is not None
    assert (report.first.name, report.first.sqnr, report.first.largest) == ("blocks.0.fc1/MatMul", -BEST, np.inf)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_int8_graph_is_compared_by_float_tensor_names(engine: str) -> None:
    model = tiny_int8()
    some = [name for name in common_tensors(tiny_graph(), model) if name.startswith(("stem", "label"))]
    expected = tensor_reader("onnxruntime", tiny_graph(), some).read(BATCHES[0])
    for group in groups(engine, model, some):
        for name, values in tensor_reader(engine, model, group).read(BATCHES[0]).items():
            error = float(((values - expected[name]) ** 2).sum() / (expected[name] ** 2).sum())
            assert error < 0.02, name


def test_unknown_tensor_engine_and_no_images_are_refused() -> None:
    with pytest.raises(EngineError, match="the graph has no tensor nowhere"):
        tiny_graph().with_outputs(["nowhere"])
    with pytest.raises(ConfigError, match="rtx cannot return inner tensors; expected one of: openvino, onnxruntime"):
        tensor_reader("tensorrt-rtx", tiny_graph(), [])
    with pytest.raises(DataError, match="no images to compare on"):
        compare_graphs(("onnxruntime", tiny_graph()), ("onnxruntime", tiny_graph()), [], 80.0)


def test_result_prints_the_worst_tensors() -> None:
    planted = altered("blocks.0.fc1.weight", 1.05)
    report = compare_graphs(("onnxruntime", planted), ("onnxruntime", tiny_graph()), BATCHES, 60.0)
    text = str(replace(report, title="planted"))
    assert text.startswith("planted\n") and f"tensor, worst 10 of {len(report.tensors)}" in text
    assert "first to diverge: blocks.0.fc1/MatMul, 26.0 dB; expected at least 60 dB" in text
    assert len(replace(report, rows=None).tables()[0].rows) == len(report.tensors)
    data = report.to_dict()
    assert not report and data["first"]["name"] == "blocks.0.fc1/MatMul" and data["engine"] == "onnxruntime"


def test_plot_names_the_tensors(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    planted = altered("blocks.0.fc1.weight", 1.05)
    report = compare_graphs(("onnxruntime", planted), ("onnxruntime", tiny_graph()), BATCHES, 60.0)
    plot_tensors(report, tmp_path / "layers.svg")
    drawn = (tmp_path / "layers.svg").read_text()
    assert "blocks.0.fc1/MatMul" in drawn and "<dc:date>" not in drawn


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_equal_figures_give_equal_files(suffix: str) -> None:
    figures = pytest.importorskip("matplotlib.figure")
    from fer_edge.evaluation.pictures import picture_file

    files = []
    for _ in range(2):
        figure = figures.Figure()
        figure.subplots().plot([1, 2])
        files.append(picture_file(figure, f".{suffix}"))
    assert files[0] == files[1]
