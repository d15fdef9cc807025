"""Files of ranges: readable, exact, and refused when they are something else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fer_edge.calibration.graph import Graph
from fer_edge.calibration.ranges import Range, check_choices, measure, read_ranges
from fer_edge.errors import ConfigError, DataError
from tests.calibration.tiny_ranges import tiny_graph, tiny_images, tiny_ranges


def test_a_file_comes_back_the_same_and_people_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    ranges = tiny_ranges().keeping(["stem.input/Conv"], max_drop=0.3)
    ranges.save(path)
    assert read_ranges(path) == ranges
    assert read_ranges(path).sha256() == ranges.sha256()
    assert sum(line.startswith('  "') and "]" in line for line in path.read_text().splitlines()) == len(ranges.tensors)
    assert json.loads(path.read_text())["images"]["source"] == "FERPlus train"


def test_every_activation_has_a_range() -> None:
    ranges = tiny_ranges()
    assert list(ranges.tensors) == Graph.parse(tiny_graph()).activations()
    for low, high, magnitude in ranges.tensors.values():
        assert low <= high and magnitude == pytest.approx(max(abs(low), abs(high)))


def test_calibrating_again_gives_the_same_bytes() -> None:
    again = measure(tiny_graph(), "of no file", tiny_images(), "minmax")
    assert again.to_json() == tiny_ranges().to_json()


def test_methods_differ_but_in_what_they_saw() -> None:
    minmax, mse = tiny_ranges("minmax").tensors, tiny_ranges("mse").tensors
    assert {name: value[:2] for name, value in minmax.items()} == {name: value[:2] for name, value in mse.items()}
    assert any(mse[name].magnitude < 0.98 * minmax[name].magnitude for name in minmax)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 9},
        {"method": "guess"},
        {"kinds": ["conv", "pool"]},
        {"tensors": {"x": [0, 1]}},
        {"tensors": {"x": [0, 1, -1]}},
        {"tensors": {"x": [0, 1, float("inf")]}},
        {"surprise": 1},
        {"checkpoint": 5},
        {"images": []},
        {"batch": "16"},
        {"kinds": [["conv"]]},
        {"tensors": {"x": [0, 1, 10**400]}},
        {"tensors": []},
    ],
)
def test_other_files_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    path.write_text(json.dumps({**json.loads(tiny_ranges().to_json()), **change}))
    with pytest.raises(DataError, match=r"ranges\.json holds no ranges that this version understands"):
        read_ranges(path)
    with pytest.raises(DataError, match=r"none\.json cannot be read"):
        read_ranges(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[" * 100_000, r"holds no ranges that this version understands: RecursionError.*; calibrate again"),
        (b'"caf\xe9"', r"cannot be read: .*; name another file, or calibrate again"),
    ],
)
def test_damaged_files_are_refused(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"ranges\.json {message}"):
        read_ranges(path)


def test_unknown_tensors_methods_and_kinds_are_named() -> None:
    with pytest.raises(DataError, match="the ranges have no tensor nowhere"):
        replace(tiny_ranges(), tensors={"x": Range(0, 1, 1)}).magnitude("nowhere")
    with pytest.raises(ConfigError, match="no method 'best'; expected one of: minmax, moving-average, percentile"):
        check_choices("best", ())
    with pytest.raises(
        ConfigError, match="no kind of layer 'pool'; expected some of: conv, depthwise, linear, attention"
    ):
        check_choices("mse", ("conv", "pool"))
