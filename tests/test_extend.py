"""One more engine for a bundle, without the checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.bundle import Bundle
from fer_edge.engines.tensorrt import engine as engine_module
from fer_edge.engines.tensorrt.api import Api
from fer_edge.errors import ConfigError, EngineError
from fer_edge.extend import add_engine
from tests.builder_double import BuilderBindings
from tests.cli.test_cli import fer_edge
from tests.cuda_double import Gpu
from tests.tiny import tiny_bundle, tiny_onnx


def test_the_new_engine_comes_first_and_the_rest_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    double: Any = BuilderBindings(Gpu())
    monkeypatch.setattr(engine_module, "find_api", lambda product: Api(product, double, double.__version__))
    monkeypatch.setattr(engine_module, "compute_capability", lambda: "sm87")
    path = tiny_bundle(tmp_path / "a.fer")
    for options, size in (({}, 1), ({"optimal_batches": [1, 8]}, 2)):
        manifest = add_engine(Bundle.open(path), path, "tensorrt", options=options)
        assert [entry.engine for entry in manifest.engines] == ["tensorrt", "openvino", "onnxruntime"]
        assert set(manifest.files) == {
            "model.onnx",
            "engines/tensorrt-sm87.engine",
            "engines/tensorrt-sm87.layers.json",
        }
        assert len(double.configs[-1].profiles) == size
    opened = Bundle.open(path)
    assert opened.read("model.onnx") == tiny_onnx()
    assert opened.read("engines/tensorrt-sm87.layers.json").decode() == double.inspected
    with opened.runner("onnxruntime") as runner:
        assert runner.infer(np.zeros((1, 112, 112, 3), np.uint8)).probabilities.shape == (1, 3)


def test_nothing_is_written_when_it_fails(tmp_path: Path) -> None:
    path, out = tiny_bundle(tmp_path / "a.fer"), tmp_path / "b.fer"
    with pytest.raises(ConfigError, match="openvino has no build option 'x'"):
        add_engine(Bundle.open(path), out, "openvino", options={"x": 1})
    with pytest.raises(EngineError, match="builds for cpu"):
        add_engine(Bundle.open(path), out, "openvino", targets=("sm89",))
    assert not out.exists()


def test_the_command(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed; it has wheels for x86-64 only")
    path, out = tiny_bundle(tmp_path / "a.fer"), tmp_path / "b.fer"
    arguments = ["--engine", "tensorrt-rtx", "--target", "sm89", "--option", "optimization_level=1", "-o", out]
    found = fer_edge("add-engine", path, *arguments)
    assert found.returncode == 0, found.stderr
    assert "tensorrt-rtx 1." in found.stdout and "(sm89)" in found.stdout
    assert "engines/tensorrt-rtx-sm89.engine" in Bundle.open(out).manifest.files
    wrong = fer_edge("add-engine", path, "--engine", "tensorrt-rtx", "--option", "level", "-o", out)
    assert wrong.returncode == 2 and "expected ENGINE.NAME=VALUE" in wrong.stderr
