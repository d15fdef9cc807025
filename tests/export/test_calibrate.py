"""`calibrate` as a Python call."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fer_edge.errors import ConfigError, DataError, InputError
from fer_edge.export.calibrate import calibrate
from fer_edge.graph.ranges import read_ranges
from tests.calibration.tiny_ranges import TinyCalibration


def test_call_returns_the_ranges_and_reports_progress(
    tiny_calibration: TinyCalibration, caplog: pytest.LogCaptureFixture
) -> None:
    tiny = tiny_calibration
    steps: dict[str, list[int]] = {}

    @contextmanager
    def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
        finished: list[int] = []
        yield finished.append
        assert sum(finished) == total
        steps[title] = finished

    with caplog.at_level(logging.INFO, "fer_edge"):
        result = calibrate(
            str(tiny.checkpoint), str(tiny.data), calibration_set=str(tiny.calibration_set), max_drop=50, threads=1,
            engine="onnxruntime", state=tiny.state, progress=progress,
        )  # fmt: skip
    assert result.ranges == read_ranges(tiny.ranges) and result.out is None
    assert list(steps) == ["exporting", "measuring ranges", "running the float graph", "measuring layers"]
    assert "30 images resolve 3.3 points" in caplog.text
    assert result.search is not None and result.search.met
    assert {**json.loads(result.to_json()), "ranges": str(tiny.ranges)} == tiny.result()
    assert len(result.tables()[0].rows) == 10
    assert "the worst 10 of 26 layers are listed; --all lists every layer" in str(result)
    assert {row[0] for row in replace(result, all_layers=True).tables()[0].rows} == set(result.search.alone)
    assert "92 ranges by moving-average, on 48 images" in str(result)


def test_call_without_budget_measures_ranges_only(tiny_calibration: TinyCalibration, tmp_path: Path) -> None:
    tiny = tiny_calibration
    result = calibrate(tiny.checkpoint, tiny.data, out=tmp_path / "r.json", calibration_set=tiny.calibration_set)
    assert result.search is None and result.tables() == ()
    assert read_ranges(tmp_path / "r.json").tensors == read_ranges(tiny.ranges).tensors
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def test_named_layers_stay_in_float(tiny_calibration: TinyCalibration) -> None:
    tiny = tiny_calibration
    result = calibrate(
        tiny.checkpoint, tiny.data, calibration_set=tiny.calibration_set, float_layers=["stem.input/Conv"]
    )
    assert result.ranges == read_ranges(tiny.ranges).with_float_layers(["stem.input/Conv"])
    with pytest.raises(ConfigError, match=r"no layer stem in the graph; expected float_layers to name some of its"):
        calibrate(tiny.checkpoint, tiny.data, calibration_set=tiny.calibration_set, float_layers=["stem"])


def test_invalid_arguments_are_refused_by_name(tiny_calibration: TinyCalibration, tmp_path: Path) -> None:
    tiny = tiny_calibration
    with pytest.raises(ConfigError, match="method is 'best'; expected one of: minmax, moving-average"):
        calibrate(tiny.checkpoint, tiny.data, method="best")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"layer_kinds\[0\] is 'pool'; expected one of: conv, depthwise"):
        calibrate(tiny.checkpoint, tiny.data, layer_kinds=["pool"])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="count is 0; expected a whole number >= 1"):
        calibrate(tiny.checkpoint, tiny.data, count=0)
    with pytest.raises(ConfigError, match=r"plot is .*x\.foo; expected a name that ends in \.svg, \.png, \.pdf"):
        calibrate(tiny.checkpoint, tiny.data, max_drop=1, plot=tmp_path / "x.foo")
    with pytest.raises(InputError, match="the data set is an empty path"):
        calibrate(tiny.checkpoint, "")
    with pytest.raises(DataError, match="no file or folder at"):
        calibrate(tiny.checkpoint, tmp_path / "none")
