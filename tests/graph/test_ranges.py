"""Ranges files: readable, exact, and refused if malformed."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fer_edge.calibration.histograms import measure
from fer_edge.choices import CalibrationMethod
from fer_edge.errors import DataError, NonFiniteError
from fer_edge.graph.ranges import Range, read_ranges
from fer_edge.graph.typed_graph import TypedGraph
from tests.calibration.tiny_ranges import tiny_graph, tiny_images, tiny_ranges


def test_file_is_readable_and_read_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    ranges = tiny_ranges().with_float_layers(["stem.input/Conv"], max_drop=0.3)
    path.write_text(ranges.to_json())
    assert read_ranges(path) == ranges
    assert read_ranges(path).sha256() == ranges.sha256()
    assert sum(line.startswith('  "') and "]" in line for line in path.read_text().splitlines()) == len(ranges.tensors)
    assert json.loads(path.read_text())["images"]["source"] == "FERPlus train"


def test_every_activation_has_a_range() -> None:
    ranges = tiny_ranges()
    assert list(ranges.tensors) == [value.name for value in tiny_graph().activations()]
    for low, high, magnitude in ranges.tensors.values():
        assert low <= high and magnitude == pytest.approx(max(abs(low), abs(high)))


def test_calibrating_again_gives_the_same_bytes() -> None:
    again = measure(tiny_graph(), "of no file", tiny_images(), "minmax")
    assert again.to_json() == tiny_ranges().to_json()


def test_methods_differ_only_in_the_magnitude() -> None:
    minmax, mse = tiny_ranges("minmax").tensors, tiny_ranges("mse").tensors
    assert {name: value[:2] for name, value in minmax.items()} == {name: value[:2] for name, value in mse.items()}
    assert any(mse[name].magnitude < 0.98 * minmax[name].magnitude for name in minmax)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 9},
        {"method": "guess"},
        {"layer_kinds": ["conv", "pool"]},
        {"tensors": {"x": [0, 1]}},
        {"tensors": {"x": [0, 1, -1]}},
        {"tensors": {"x": [0, 1, float("inf")]}},
        {"surprise": 1},
        {"checkpoint": 5},
        {"images": []},
        {"batch": "16"},
        {"layer_kinds": [["conv"]]},
        {"tensors": {"x": [0, 1, 10**400]}},
        {"tensors": []},
    ],
)
def test_malformed_content_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    path.write_text(json.dumps({**json.loads(tiny_ranges().to_json()), **change}))
    with pytest.raises(DataError, match=r"ranges\.json is not a ranges file that this version can read"):
        read_ranges(path)
    with pytest.raises(DataError, match=r"none\.json cannot be read"):
        read_ranges(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[" * 100_000, r"is not a ranges file that this version can read: RecursionError.*; calibrate again"),
        (b'"caf\xe9"', r"cannot be read: .*; name another file, or calibrate again"),
    ],
)
def test_damaged_files_are_refused(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"ranges\.json {message}"):
        read_ranges(path)


def test_unknown_tensor_is_named() -> None:
    with pytest.raises(DataError, match="the ranges have no tensor nowhere"):
        replace(tiny_ranges(), tensors={"x": Range(0, 1, 1)}).magnitude("nowhere")


@cache
def overflowing_graph() -> TypedGraph:
    """Return the tiny graph with finite weights, so large that the activations of its stem overflow."""
    proto = onnx.load_from_string(tiny_graph().to_bytes())
    weights = {node.input[1] for node in proto.graph.node if node.op_type == "Conv"}
    for tensor in proto.graph.initializer:
        if tensor.name in weights and tensor.name.startswith("stem."):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1e18), tensor.name))
    return TypedGraph.parse(proto.SerializeToString())


@pytest.mark.parametrize("method", get_args(CalibrationMethod))
def test_overflowing_model_has_no_ranges(method: CalibrationMethod) -> None:
    with pytest.raises(NonFiniteError) as refused:
        measure(overflowing_graph(), "of no file", tiny_images(), method)
    message = str(refused.value)
    assert message.startswith("tensor stem.") and "with NaN or infinity on the calibration images" in message
    assert "train it again with a lower learning rate" in message


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_reading_refuses_are_not_written(value: float, tmp_path: Path) -> None:
    ranges, path = tiny_ranges(), tmp_path / "ranges.json"
    name = next(iter(ranges.tensors))
    for changed, message in (
        (replace(ranges, tensors={**ranges.tensors, name: Range(0.0, value, 1.0)}), f"the range of {name} is"),
        (replace(ranges, search={"drop": value}), "a number under images or search is NaN or infinite"),
    ):
        with pytest.raises(NonFiniteError, match=message):
            changed.to_json()
    stored = json.loads(ranges.to_json())
    path.write_text(json.dumps({**stored, "search": {"drop": value}}))
    with pytest.raises(DataError, match="a number under images or search is NaN or infinite"):
        read_ranges(path)
