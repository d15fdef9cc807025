"""Addition of an engine to a bundle, without the checkpoint."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.bundle import Bundle, EngineEntry, write_bundle
from fer_edge.engines.tensorrt import engine as engine_module
from fer_edge.engines.tensorrt.api import Api
from fer_edge.errors import BundleError, ConfigError, EngineError
from fer_edge.export.add_engine import add_engine
from fer_edge.graph import precision
from fer_edge.graph.typed_graph import TypedGraph
from fer_edge.shipped import shipped_file
from tests.builder_double import BuilderBindings
from tests.command import fer_edge
from tests.cuda_double import Gpu
from tests.tiny import tiny_bundle, tiny_manifest, tiny_onnx


def test_new_engine_comes_first_and_the_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    double: Any = BuilderBindings(Gpu())
    monkeypatch.setattr(engine_module, "find_api", lambda product: Api(product, double, double.__version__))
    monkeypatch.setattr(engine_module, "compute_capability", lambda: "sm87")
    path = tiny_bundle(tmp_path / "a.fer")
    cases: list[tuple[dict[str, Any], int]] = [({}, 1), ({"optimal_batches": [1, 8]}, 2)]
    for options, size in cases:
        manifest = add_engine(
            path, path, engine="tensorrt", options={"tensorrt": options}, allow_fallback=True
        ).manifest
        assert [entry.engine for entry in manifest.engines] == ["tensorrt", "openvino", "onnxruntime"]
        assert set(manifest.files) == {
            "model.onnx",
            "engines/tensorrt-sm87.engine",
            "engines/tensorrt-sm87.layers.json",
        }
        assert len(double.configs[-1].profiles) == size
        assert manifest.engines[0].options == options
    opened = Bundle.open(path)
    assert opened.read("model.onnx") == tiny_onnx()
    assert opened.read("engines/tensorrt-sm87.layers.json").decode() == double.layers_json
    with opened.runner("onnxruntime") as runner:
        assert runner.infer(np.zeros((1, 112, 112, 3), np.uint8)).probabilities.shape == (1, 3)


def test_bundle_stores_build_options_except_local_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    double: Any = BuilderBindings(Gpu())
    monkeypatch.setattr(engine_module, "find_api", lambda product: Api(product, double, double.__version__))
    monkeypatch.setattr(engine_module, "compute_capability", lambda: "sm87")
    bundle, options = tiny_bundle(tmp_path / "a.fer"), {"optimal_batches": (1, 8), "weights": "inside"}
    for place in ("first", "second"):
        local = {"tensorrt": {**options, "timing_cache": str(tmp_path / place)}}
        out = tmp_path / f"{place}.fer"
        manifest = add_engine(bundle, out, engine="tensorrt", options=local, allow_fallback=True).manifest
        assert manifest.engines[0].options == {"optimal_batches": [1, 8], "weights": "inside"}
    assert (tmp_path / "first.fer").read_bytes() == (tmp_path / "second.fer").read_bytes()


def test_unsigned_graph_is_refused_by_an_engine_for_signed_ones(tmp_path: Path) -> None:
    path = shipped_file("bundle", "edge-int8")
    with pytest.raises(ConfigError, match=r"has uint8 activations, .*; tensorrt needs int8: build a bundle for it"):
        add_engine(path, tmp_path / "out.fer", engine="tensorrt", gpu_archs=("sm87",))


def test_failed_build_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = tiny_bundle(tmp_path / "a.fer"), tmp_path / "b.fer"
    with pytest.raises(ConfigError, match="openvino has no build option 'x'"):
        add_engine(path, out, engine="openvino", options={"openvino": {"x": 1}})
    with pytest.raises(EngineError, match="builds for cpu"):
        add_engine(path, out, engine="openvino", gpu_archs=("sm89",))

    def refuse_fallbacks(engine: str, graph: object, executed: object, *, allow_fallback: bool) -> dict[str, Any]:
        raise EngineError(f"{engine} does not run 1 layers in the precision of the graph")

    monkeypatch.setattr(precision, "checked_proof", refuse_fallbacks)
    with pytest.raises(EngineError, match="onnxruntime does not run 1 layers"):
        add_engine(path, out, engine="onnxruntime")
    assert not out.exists()


def test_command_adds_an_engine(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed; it has wheels for x86-64 only")
    path, out = tiny_bundle(tmp_path / "a.fer"), tmp_path / "b.fer"
    setting = "tensorrt-rtx.optimization_level=1"
    arguments = ["--engine", "tensorrt-rtx", "--gpu-arch", "sm89", "--set", setting, "-o", out]
    result = fer_edge("bundle", "add-engine", path, *arguments)
    assert result.returncode == 0, result.stderr
    assert "tensorrt-rtx 1." in result.stdout and "(sm89)" in result.stdout
    assert "engines/tensorrt-rtx-sm89.engine" in Bundle.open(out).manifest.files
    assert Bundle.open(out).entry().options == {"optimization_level": 1}
    assert Bundle.open(out).entry().proof["macs"] == {"fp32": 1.0} and "by executed precision" in result.stdout
    assert "optimization_level: 1" in fer_edge("inspect", "--full", out).stdout


def test_settings_of_other_engines_are_refused(tmp_path: Path) -> None:
    path, out = tiny_bundle(tmp_path / "a.fer"), tmp_path / "b.fer"
    for setting, message in (
        ("level", "--set level: expected ENGINE.NAME=VALUE"),
        ("tensorrt.level=1", "options for tensorrt, which is not built; engines are openvino"),
    ):
        refused = fer_edge("bundle", "add-engine", path, "--engine", "openvino", "--set", setting, "-o", out)
        assert refused.returncode == 2 and message in refused.stderr
        assert not out.exists()


def test_call_takes_paths_and_returns_the_proof(tmp_path: Path) -> None:
    path, out = tiny_bundle(tmp_path / "a.fer"), tmp_path / "b.fer"
    result = add_engine(str(path), str(out), engine="onnxruntime")
    assert (result.bundle, result.built, result.size) == (out, ("onnxruntime",), out.stat().st_size)
    assert [entry.engine for entry in result.entries] == ["onnxruntime"]
    assert result.manifest == Bundle.open(out).manifest and result.entries[0].proof["macs"] == {"fp32": 1.0}
    assert f"{out}: fp32, onnxruntime" in str(result) and "by executed precision" in str(result)
    assert json.loads(result.to_json())["manifest"]["engines"][0]["engine"] == "onnxruntime"


def test_missing_onnx_leaves_the_precision_unproven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_bundle(tmp_path / "a.fer")
    monkeypatch.setitem(sys.modules, "fer_edge.graph.precision", None)
    result = add_engine(path, path, engine="onnxruntime")
    assert result.entries[0].proof == {} and result.tables() == ()
    assert "onnxruntime: the executed precision was not compared with the model" in str(result)


def test_changes_during_the_build_are_preserved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_bundle(tmp_path / "a.fer")

    def change_bundle(engine: str, graph: TypedGraph, executed: object, *, allow_fallback: bool) -> dict[str, Any]:
        extra = EngineEntry("tensorrt", ("sm87",), "11", "engines/other", None)
        manifest = Bundle.open(path).manifest
        written = replace(manifest, engines=(extra, *manifest.engines))
        write_bundle(path, written, {"model.onnx": graph.to_bytes(), "engines/other": b"other"})
        return {}

    monkeypatch.setattr(precision, "checked_proof", change_bundle)
    add_engine(path, path, engine="onnxruntime")
    opened = Bundle.open(path)
    assert [entry.engine for entry in opened.manifest.engines] == ["onnxruntime", "tensorrt", "openvino"]
    assert opened.read("engines/other") == b"other"


@pytest.mark.parametrize("changes", [{"seed": 1}, {"max_batch": 2}, {"precision": "fp16"}])
def test_engine_of_a_replaced_model_is_not_written(
    tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tiny_bundle(tmp_path / "a.fer"), tmp_path / "b.fer"

    def change_bundle(engine: str, graph: object, executed: object, *, allow_fallback: bool) -> dict[str, Any]:
        values = dict(changes)
        members = {"model.onnx": tiny_onnx(seed=values.pop("seed", 0))}
        write_bundle(path, tiny_manifest(**values), members)
        return {}

    monkeypatch.setattr(precision, "checked_proof", change_bundle)
    with pytest.raises(
        BundleError, match=r"the model, precision or largest batch of .* changed while the engine was built"
    ):
        add_engine(path, out, engine="onnxruntime")
    assert not out.exists()
