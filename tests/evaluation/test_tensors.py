"""Tensor by tensor: twins agree, a planted difference is found where it was planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fer_edge.calibration.qdq import quantize_graph
from fer_edge.errors import ConfigError, DataError, EngineError
from fer_edge.evaluation.tensors import (
    BEST,
    DIVERGED,
    common_tensors,
    compare_tensors,
    groups,
    plot_tensors,
    tensor_reader,
    with_outputs,
)
from tests.calibration.tiny_ranges import tiny_graph, tiny_images, tiny_ranges

BATCHES = [next(tiny_images().batches(4))]


def altered(weight: str, factor: float) -> bytes:
    model = onnx.load_from_string(tiny_graph())
    for tensor in model.graph.initializer:
        if tensor.name == weight:
            tensor.CopyFrom(
                numpy_helper.from_array((numpy_helper.to_array(tensor) * factor).astype(np.float32), weight)
            )
    return model.SerializeToString()


def test_twins_agree() -> None:
    report = compare_tensors(("onnxruntime", tiny_graph()), ("onnxruntime", tiny_graph()), BATCHES, DIVERGED["fp32"])
    assert report.first is None
    assert {tensor.sqnr for tensor in report.tensors} == {BEST}
    assert report.tensors[-1].name == "probabilities"


def test_engines_agree_on_float_tensors() -> None:
    report = compare_tensors(("openvino", tiny_graph()), ("onnxruntime", tiny_graph()), BATCHES, DIVERGED["fp32"])
    assert report.first is None
    assert len(report.tensors) > 80


def test_the_first_tensor_that_differs_is_named() -> None:
    planted = altered("blocks.0.fc1.weight", 1.05)
    report = compare_tensors(("onnxruntime", planted), ("onnxruntime", tiny_graph()), BATCHES, 60.0)
    assert report.first is not None
    assert report.first.name == "blocks.0.fc1/MatMul"
    assert report.first.sqnr == pytest.approx(-20 * np.log10(0.05), abs=0.01)
    assert report.first.cosine == pytest.approx(1)
    assert report.first.largest == pytest.approx(0.05 * report.first.peak, rel=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_has_diverged(value: float) -> None:
    report = compare_tensors(
        ("onnxruntime", altered("blocks.0.fc1.weight", value)), ("onnxruntime", tiny_graph()), BATCHES, 60.0
    )
    assert report.first is not None
    assert (report.first.name, report.first.sqnr, report.first.largest) == ("blocks.0.fc1/MatMul", -BEST, np.inf)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_int8_is_compared_by_the_names_of_the_float_graph(engine: str) -> None:
    model = quantize_graph(tiny_graph(), tiny_ranges())
    some = [name for name in common_tensors(tiny_graph(), model) if name.startswith(("stem", "label"))]
    reader = tensor_reader("onnxruntime", tiny_graph(), some).read(BATCHES[0])
    for group in groups(engine, model, some):
        for name, found in tensor_reader(engine, model, group).read(BATCHES[0]).items():
            error = float(((found - reader[name]) ** 2).sum() / (reader[name] ** 2).sum())
            assert error < 0.02, name


def test_wrong_questions_are_refused() -> None:
    with pytest.raises(EngineError, match="the graph has no tensor nowhere"):
        with_outputs(tiny_graph(), ["nowhere"])
    with pytest.raises(ConfigError, match="tensorrt-rtx gives no tensors from inside; expected one of: onnxruntime"):
        tensor_reader("tensorrt-rtx", tiny_graph(), [])
    with pytest.raises(DataError, match="no images to compare on"):
        compare_tensors(("onnxruntime", tiny_graph()), ("onnxruntime", tiny_graph()), [], 80.0)


def test_the_network_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    planted = altered("blocks.0.fc1.weight", 1.05)
    report = compare_tensors(("onnxruntime", planted), ("onnxruntime", tiny_graph()), BATCHES, 60.0)
    plot_tensors(report, "planted", tmp_path / "layers.svg")
    drawn = (tmp_path / "layers.svg").read_text()
    assert "blocks.0.fc1/MatMul" in drawn and "<dc:date>" not in drawn


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_equal_figures_give_equal_files(suffix: str, tmp_path: Path) -> None:
    figures = pytest.importorskip("matplotlib.figure")
    from fer_edge.evaluation.pictures import save_plot

    for name in ("first", "second"):
        figure = figures.Figure()
        figure.subplots().plot([1, 2])
        save_plot(figure, tmp_path / f"{name}.{suffix}")
    assert (tmp_path / f"first.{suffix}").read_bytes() == (tmp_path / f"second.{suffix}").read_bytes()
