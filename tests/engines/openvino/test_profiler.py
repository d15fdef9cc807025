"""OpenVINO's profiler, on models whose multiply-accumulates can be counted by hand."""

from __future__ import annotations

import pytest

from fer_edge.engines.base import Artifact, RunOptions
from fer_edge.engines.openvino import profiler
from fer_edge.engines.openvino.engine import ENGINE
from fer_edge.engines.registry import get_profiler
from fer_edge.errors import ConfigError, EngineError
from tests.tiny import tiny_onnx

ONE = RunOptions(threads=1)


def test_layers_of_a_tiny_model() -> None:
    layers = get_profiler("openvino").layers(Artifact(tiny_onnx(), None, 1), ONE, repeats=4)
    assert all(layer.microseconds >= 0 and layer.bytes > 0 and layer.kernel for layer in layers)
    assert sum(layer.macs for layer in layers) == 18  # two heads of 3 x 3, one row
    assert {layer.precision for layer in layers} >= {"f32", "u8"}


@pytest.mark.slow
def test_macs_of_layers_equal_those_of_the_deploy_graph() -> None:
    from fer_edge.export.onnx_graph import onnx_from_checkpoint
    from tests.tiny_model import tiny_checkpoint

    model = onnx_from_checkpoint(tiny_checkpoint()).to_bytes()
    network = ENGINE.network_for_one(model)
    macs = sum(profiler._macs_of_node(node) for node in network.get_ordered_ops())
    layers = get_profiler("openvino").layers(Artifact(model, None, 1), ONE, repeats=2)
    # Nodes that the plugin fuses or renames are counted exactly once.
    assert sum(layer.macs for layer in layers) == macs > 1_000_000


def test_peaks_run_on_kernels_of_their_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiler, "SIZE", 256)
    monkeypatch.setattr(profiler, "MAP", 14)
    monkeypatch.setattr(profiler, "COPIED", 1 << 20)
    peaks = {peak.name: peak for peak in get_profiler("openvino").peaks(ONE, 3)}
    assert {"fp32 GEMM", "fp32 convolution", "memory"} <= set(peaks)
    assert peaks["fp32 GEMM"].precision == "f32" and peaks["fp32 GEMM"].per_second > 1e8
    for name in ("int8 GEMM", "int8 convolution"):
        assert name not in peaks or peaks[name].precision in ("i8", "u8")


def test_engine_without_profiler_is_refused() -> None:
    with pytest.raises(EngineError, match="onnxruntime has no layer profiler; engines with one: openvino"):
        get_profiler("onnxruntime")
    with pytest.raises(ConfigError, match="no engine 'none'"):
        get_profiler("none")
