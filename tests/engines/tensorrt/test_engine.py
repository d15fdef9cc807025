"""The engine `tensorrt` on a simulated builder. test_rtx.py builds the shared part with the real TensorRT-RTX."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fer_edge.bundle import Bundle, EngineEntry, write_bundle
from fer_edge.engines.base import Artifact, BuildRequest, RunOptions
from fer_edge.engines.registry import engine_status, get_engine, platform_tag
from fer_edge.engines.tensorrt import engine as engine_module
from fer_edge.engines.tensorrt.api import LOG, find_api
from fer_edge.engines.tensorrt.build import BuilderOptions, options_from_settings
from fer_edge.errors import (
    BundleMismatchError,
    ConfigError,
    EngineError,
    EngineUnavailableError,
    UnsupportedTargetError,
)
from tests.builder_double import BuilderBindings, Flag, install_builder
from tests.tiny import tiny_manifest, tiny_onnx

TENSORRT = get_engine("tensorrt")
# Warning that TensorRT logs before it returns no builder: NVIDIA/TensorRT issue 2913.
NO_CUDA = "CUDA initialization failure with error: {}. Please check your CUDA installation: http://docs.nvidia.com/"


@pytest.fixture
def bindings(monkeypatch: pytest.MonkeyPatch) -> BuilderBindings:
    """TensorRT 11.4 on a machine with an Ada GPU."""
    return install_builder(monkeypatch)


def build(**options: Any) -> Any:
    return TENSORRT.build(tiny_onnx(), BuildRequest("fp32", (), 8, options))


def test_engine_for_this_gpu(bindings: BuilderBindings) -> None:
    built = build()
    assert (built.targets, built.engine_version, built.platform) == (("sm89",), "11.4.0.106", platform_tag())
    assert built.layers == '{"Layers": [], "Bindings": []}'
    (config,) = bindings.configs
    assert config.flags == set()  # TF32 is on unless it is cleared
    assert [profile.shapes for profile in config.profiles] == [[1, 1, 8]]
    assert not hasattr(config, "builder_optimization_level") and not config.pools


def test_options_reach_the_builder(bindings: BuilderBindings) -> None:
    built = build(
        optimization_level=5,
        optimal_batches=[1, 4],
        workspace_mb=64,
        aux_streams=0,
        tf32=True,
        weights="stripped",
        version_compatible=True,
        hardware_compatible="ampere-plus",
    )
    (config,) = bindings.configs
    assert config.flags == set(Flag)
    assert [profile.shapes for profile in config.profiles] == [[1, 1, 1], [1, 4, 8]]
    assert config.pools == {"workspace": 64 << 20}
    assert (config.builder_optimization_level, config.max_aux_streams) == (5, 0)  # type: ignore[attr-defined]
    assert config.hardware_compatibility_level == "ampere"  # type: ignore[attr-defined]
    assert (built.targets, built.engine_version) == (("sm80+",), "11.4.0.106+")
    assert built.layers is not None


@pytest.mark.skipif(platform_tag() != "linux-x86_64", reason="TensorRT builds for Windows on x86-64 Linux only")
def test_cross_build_for_windows(bindings: BuilderBindings) -> None:
    built = build(platform="windows-x86_64", hardware_compatible="same-compute-capability")
    assert (built.platform, built.layers) == ("windows-x86_64", None)
    assert bindings.configs[0].runtime_platform == "windows"  # type: ignore[attr-defined]
    assert bindings.configs[0].hardware_compatibility_level == "same"  # type: ignore[attr-defined]


def test_option_of_a_newer_version_is_refused(bindings: BuilderBindings) -> None:
    bindings.__version__ = "10.3.0"
    with pytest.raises(
        UnsupportedTargetError, match=r"TensorRT 10\.3\.0 has no .*same-compute.*; it needs 10\.9 or newer"
    ):
        build(hardware_compatible="same-compute-capability")


def test_target_that_is_another_gpu_is_refused(bindings: BuilderBindings) -> None:
    with pytest.raises(UnsupportedTargetError, match="for the GPU of this machine, sm89, not for sm86: build there"):
        TENSORRT.build(tiny_onnx(), BuildRequest("fp32", ("sm89", "sm86")))


def test_timing_cache_is_used_by_the_next_build(bindings: BuilderBindings, tmp_path: Path) -> None:
    build(timing_cache=str(tmp_path))
    (cache,) = tmp_path.glob("timing-*-11.4.0.106-sm89.cache")
    assert cache.read_bytes() == b"timed"
    cache.write_bytes(b"others+timed")
    build(timing_cache=str(tmp_path))
    assert bindings.configs[1].initial_cache == b"others+timed"
    cache.write_bytes(b"another device's")
    build(timing_cache=str(tmp_path))
    assert bindings.configs[2].initial_cache == b""


@pytest.mark.parametrize(
    ("warning", "message"),
    [
        (NO_CUDA.format(35), r"builder does not start; the NVIDIA driver is too old .*error: 35\. Please check"),
        (NO_CUDA.format(100), r"builder does not start; the driver finds no GPU; .*error: 100\. Please check"),
        (NO_CUDA.format(803), r"builder does not start: CUDA init.*error: 803\..*needs an NVIDIA GPU with its driver"),
        ("libcudart.so.12: CUDA initialization failure", r"builder does not start; the CUDA packages have different"),
        ("CUDA lazy loading is not enabled", r"builder does not start: no reason given\. .*see: fer-edge doctor"),
    ],
)
def test_builder_that_does_not_start_is_explained(bindings: BuilderBindings, warning: str, message: str) -> None:
    bindings.start_failures = {"Builder": warning}
    with pytest.raises(EngineUnavailableError, match=message):
        build()


def test_runtime_that_does_not_start_only_skips_inspection(
    bindings: BuilderBindings, caplog: pytest.LogCaptureFixture
) -> None:
    bindings.start_failures = {"Runtime": NO_CUDA.format(35)}
    with caplog.at_level("WARNING", LOG.name):
        built = build()
    assert built.file and built.layers is None
    assert "runtime does not start; the NVIDIA driver is too old" in caplog.text
    assert "the engine is not inspected" in caplog.text


def test_parser_errors_are_reported(bindings: BuilderBindings) -> None:
    with pytest.raises(EngineError, match="cannot read the model: Conv conv1: no kernel"):
        TENSORRT.build(b"no model", BuildRequest())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workspce_mb": 1}, r"options\.workspce_mb is not known; did you mean options\.workspace_mb\?"),
        ({"optimization_level": 6}, "optimization_level is 6; expected a whole number from 0 to 5"),
        ({"optimization_level": True}, "optimization_level is True; expected a whole number"),
        ({"workspace_mb": "8"}, "workspace_mb is '8'; expected a whole number"),
        ({"optimal_batches": []}, r"optimal_batches is \[\]; expected different batch sizes"),
        ({"optimal_batches": [1, 1]}, "expected different batch sizes"),
        ({"optimal_batches": "1"}, "optimal_batches is '1'; expected a list, each a whole number from 1 to 1024"),
        ({"weights": "none"}, "weights is 'none'; expected one of: inside, stripped"),
        ({"tf32": 1}, "tf32 is 1; expected true or false"),
        ({"timing_cache": 3}, "timing_cache is 3; expected a string"),
    ],
)
def test_invalid_options_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        options_from_settings(settings)


def test_optimisation_profiles() -> None:
    assert BuilderOptions().profiles(8) == [(1, 1, 8)]
    assert BuilderOptions(optimal_batches=(4, 8)).profiles(8) == [(1, 4, 8), (1, 8, 8)]
    assert BuilderOptions(optimal_batches=(1, 8)).profiles(8) == [(1, 1, 1), (1, 8, 8)]


@pytest.mark.parametrize(
    ("built", "installed", "runs"),
    [
        ("11.4.0.106", "11.4.0.106", True),
        ("11.4.0.106", "11.5.0.1", False),
        ("11.4.0.106+", "11.5.0.1", True),
        ("11.4.0.106+", "11.3.0.1", False),
        ("10.16.1.11+", "11.4.0.106", False),
        ("11+", "11.4.0.106", False),
        ("newest+", "11.4.0.106", False),
    ],
)
def test_versions_that_run_a_plan(bindings: BuilderBindings, built: str, installed: str, runs: bool) -> None:
    bindings.__version__ = installed
    assert TENSORRT.runs_version(built) == runs


@pytest.mark.parametrize(
    ("built", "local", "runs"),
    [("sm86", "sm86", True), ("sm86", "sm89", False), ("sm80+", "sm120", True), ("sm80+", "sm75", False)],
)
def test_gpus_that_run_a_plan(built: str, local: str, runs: bool) -> None:
    assert TENSORRT.runs_target((built,), local) == runs


def test_bundle_of_another_version_is_refused(bindings: BuilderBindings, tmp_path: Path) -> None:
    entry = EngineEntry("tensorrt", ("sm80+",), "12.0.0+", "engines/x", platform_tag())
    write_bundle(tmp_path / "a.fer", tiny_manifest(engines=(entry,)), {"model.onnx": tiny_onnx(), "engines/x": b"x"})
    with pytest.raises(BundleMismatchError, match=r"built with tensorrt 12\.0\.0\+; installed is 11\.4\.0\.106"):
        Bundle.open(tmp_path / "a.fer").runner()


def fake_module(version: str) -> ModuleType:
    module = ModuleType("tensorrt")
    setattr(module, "__version__", version)  # noqa: B010
    return module


def test_old_or_broken_bindings_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_module("8.6.1"))
    with pytest.raises(EngineUnavailableError, match=r"TensorRT 8\.6\.1 is installed; fer-edge needs 10\.3 or newer"):
        find_api("tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineUnavailableError, match=r'pip install "fer-edge\[tensorrt\]"'):
        find_api("tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    with pytest.raises(EngineUnavailableError, match=r"is installed but does not load .*reinstall it completely"):
        find_api("tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", fake_module("11.4.0.106"))
    assert find_api("tensorrt").name == "TensorRT 11.4.0.106"


def test_status_separates_building_from_running(bindings: BuilderBindings, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise EngineUnavailableError("PyCUDA cannot be imported")

    monkeypatch.setattr(engine_module, "check_cuda", missing)
    status = engine_status("tensorrt")
    assert (status.can_build, status.can_run, status.reason) == (True, False, "PyCUDA cannot be imported")
    monkeypatch.setattr(engine_module, "check_cuda", lambda: None)
    assert engine_status("tensorrt").can_run


def test_input_buffer_of_other_engines_is_a_plain_array() -> None:
    with get_engine("onnxruntime").load(Artifact(tiny_onnx(), None, 4), RunOptions()) as runner:
        assert runner.input_buffer().shape == (4, 112, 112, 3)
        assert runner.time_on_device(1, 1) is None
        assert np.all(runner.infer(runner.input_buffer()[:1]).probabilities > 0)
