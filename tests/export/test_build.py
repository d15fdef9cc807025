"""`build` as a Python call."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fer_edge.bundle import Bundle
from fer_edge.errors import ConfigError, FerEdgeError, InputError
from fer_edge.export.build import build
from tests.calibration.tiny_ranges import TinyCalibration


@pytest.mark.slow
def test_call_takes_paths_and_returns_the_manifest(tiny_calibration: TinyCalibration, tmp_path: Path) -> None:
    tiny, out = tiny_calibration, tmp_path / "int8.fer"
    result = build(
        str(tiny.checkpoint), str(out), engines=["onnxruntime", "openvino"], precision="int8", ranges=tiny.ranges,
        max_batch=8,
    )  # fmt: skip
    assert (result.bundle, result.built, result.size) == (out, ("onnxruntime", "openvino"), out.stat().st_size)
    assert result.manifest.max_batch == 8
    stored = Bundle.open(out).manifest
    assert (stored.precision, stored.checkpoint) == ("int8", result.manifest.checkpoint)
    assert [entry.engine for entry in stored.engines] == ["onnxruntime", "openvino"]
    assert f"{out}: int8, onnxruntime" in str(result) and "multiply-accumulates" in str(result)
    assert json.loads(result.to_json())["manifest"]["engines"][0]["proof"]["macs"]["int8"] > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "int4"}, "precision is 'int4'; expected one of: fp32, fp16, int8; did you mean int8"),
        ({"max_batch": 0}, "max_batch is 0; expected a whole number from 1 to 1024"),
        ({"engines": ["openvno"]}, "no engine 'openvno'; expected one of: .*did you mean openvino"),
        ({"options": {"tensorrt": {}}}, "options for tensorrt, which is not built; engines are openvino"),
        ({"gpu_archs": ["sm89"]}, "gpu_archs sm89 have no effect: openvino builds for CPUs"),
        ({"precision": "int8"}, "int8 needs activation ranges"),
    ],
)
def test_invalid_arguments_are_refused(
    arguments: dict[str, object], message: str, tiny_calibration: TinyCalibration, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        build(tiny_calibration.checkpoint, tmp_path / "a.fer", **arguments)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_invalid_paths_are_refused(tiny_calibration: TinyCalibration, tmp_path: Path) -> None:
    checkpoint = tiny_calibration.checkpoint
    with pytest.raises(InputError, match="the checkpoint is of type int; expected a path"):
        build(3, tmp_path / "a.fer")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no checkpoint at edgy; expected a file, or one that is shipped: edge"):
        build("edgy", tmp_path / "a.fer")
    with pytest.raises(ConfigError, match="is also an input; name another file to write"):
        build(checkpoint, checkpoint)
    with pytest.raises(FerEdgeError, match="none"):
        build(tmp_path / "none.safetensors", tmp_path / "a.fer")
