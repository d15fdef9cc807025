"""TensorRT's builder: what it is told, on a double of it; what both products build is on the real TensorRT-RTX."""

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
from fer_edge.engines.tensorrt.api import Api, find_api
from fer_edge.engines.tensorrt.callbacks import LOG
from fer_edge.engines.tensorrt.options import BuilderOptions, options_from_settings
from fer_edge.errors import (
    BundleMismatchError,
    ConfigError,
    EngineError,
    EngineUnavailableError,
    UnsupportedTargetError,
)
from tests.builder_double import BuilderBindings, Flag
from tests.cuda_double import Gpu
from tests.tiny import tiny_manifest, tiny_onnx

TENSORRT = get_engine("tensorrt")
# What TensorRT says, as a warning, before it gives no builder: NVIDIA/TensorRT issue 2913.
NO_CUDA = "CUDA initialization failure with error: {}. Please check your CUDA installation: http://docs.nvidia.com/"


@pytest.fixture
def bindings(monkeypatch: pytest.MonkeyPatch) -> BuilderBindings:
    """TensorRT 11.4 on a machine with an Ada GPU."""
    double: Any = BuilderBindings(Gpu())
    monkeypatch.setattr(engine_module, "find_api", lambda product: Api(product, double, double.__version__))
    monkeypatch.setattr(engine_module, "compute_capability", lambda: "sm89")
    found: BuilderBindings = double
    return found


def build(**options: Any) -> Any:
    return TENSORRT.build(tiny_onnx(), BuildRequest("fp32", (), 8, options))


def test_an_engine_for_this_gpu(bindings: BuilderBindings) -> None:
    built = build()
    assert (built.targets, built.engine_version, built.platform) == (("sm89",), "11.4.0.106", platform_tag())
    assert built.layers == '{"Layers": [], "Bindings": []}'
    (config,) = bindings.configs
    assert config.flags == set()  # TF32 is on unless it is cleared
    assert [profile.shapes for profile in config.profiles] == [[1, 1, 8]]
    assert not hasattr(config, "builder_optimization_level") and not config.pools


def test_every_option_reaches_the_builder(bindings: BuilderBindings) -> None:
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
def test_building_for_windows(bindings: BuilderBindings) -> None:
    built = build(platform="windows-x86_64", hardware_compatible="same-compute-capability")
    assert (built.platform, built.layers) == ("windows-x86_64", None)
    assert bindings.configs[0].runtime_platform == "windows"  # type: ignore[attr-defined]
    assert bindings.configs[0].hardware_compatibility_level == "same"  # type: ignore[attr-defined]


def test_what_the_installed_version_lacks_is_refused(bindings: BuilderBindings) -> None:
    bindings.__version__ = "10.3.0"
    with pytest.raises(
        UnsupportedTargetError, match=r"TensorRT 10\.3\.0 has no .*same-compute.*; it needs 10\.9 or newer"
    ):
        build(hardware_compatible="same-compute-capability")


def test_other_gpus_are_refused(bindings: BuilderBindings) -> None:
    with pytest.raises(UnsupportedTargetError, match="for the GPU of this machine, sm89; asked for sm86: build there"):
        TENSORRT.build(tiny_onnx(), BuildRequest("fp32", ("sm89", "sm86")))


def test_timings_are_kept_for_the_next_build(bindings: BuilderBindings, tmp_path: Path) -> None:
    build(timing_cache=str(tmp_path))
    (kept,) = tmp_path.glob("timing-*-11.4.0.106-sm89.cache")
    assert kept.read_bytes() == b"timed"
    kept.write_bytes(b"others+timed")
    build(timing_cache=str(tmp_path))
    assert bindings.configs[1].started_with == b"others+timed"
    kept.write_bytes(b"another device's")
    build(timing_cache=str(tmp_path))
    assert bindings.configs[2].started_with == b""


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (NO_CUDA.format(35), r"builder does not start; the NVIDIA driver is too old .*error: 35\. Please check"),
        (NO_CUDA.format(100), r"builder does not start; the driver finds no GPU; .*error: 100\. Please check"),
        (NO_CUDA.format(803), r"builder does not start: CUDA init.*error: 803\..*it needs one here, with its driver"),
        ("libcudart.so.12: CUDA initialization failure", r"builder does not start; the CUDA packages are not of one"),
        ("CUDA lazy loading is not enabled", r"builder does not start: no reason given\. .*see: fer-edge doctor"),
    ],
)
def test_a_builder_that_does_not_start_is_explained(bindings: BuilderBindings, said: str, message: str) -> None:
    bindings.no_cuda = {"Builder": said}
    with pytest.raises(EngineUnavailableError, match=message):
        build()


def test_a_finished_engine_is_kept_where_the_runtime_does_not_start(
    bindings: BuilderBindings, caplog: pytest.LogCaptureFixture
) -> None:
    bindings.no_cuda = {"Runtime": NO_CUDA.format(35)}
    with caplog.at_level("WARNING", LOG.name):
        built = build()
    assert built.file and built.layers is None
    assert "runtime does not start; the NVIDIA driver is too old" in caplog.text
    assert "the engine's own layers stay unknown" in caplog.text


def test_what_the_parser_says_is_told(bindings: BuilderBindings) -> None:
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
def test_options_that_cannot_be_right_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        options_from_settings(settings)


def test_profiles_of_batches() -> None:
    assert BuilderOptions().profiles(8) == [(1, 1, 8)]
    assert BuilderOptions(optimal_batches=(4, 8)).profiles(8) == [(1, 4, 8), (1, 8, 8)]
    assert BuilderOptions(optimal_batches=(1, 8)).profiles(8) == [(1, 1, 1), (1, 8, 8)]


@pytest.mark.parametrize(
    ("built", "installed", "fits"),
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
def test_versions_that_run_a_plan(bindings: BuilderBindings, built: str, installed: str, fits: bool) -> None:
    bindings.__version__ = installed
    assert TENSORRT.runs_version(built) == fits


@pytest.mark.parametrize(
    ("built", "local", "fits"),
    [("sm86", "sm86", True), ("sm86", "sm89", False), ("sm80+", "sm120", True), ("sm80+", "sm75", False)],
)
def test_gpus_that_run_a_plan(built: str, local: str, fits: bool) -> None:
    assert TENSORRT.runs_target((built,), local) == fits


def test_a_bundle_says_why_it_does_not_fit(bindings: BuilderBindings, tmp_path: Path) -> None:
    entry = EngineEntry("tensorrt", ("sm80+",), "12.0.0+", "engines/x", platform_tag())
    write_bundle(tmp_path / "a.fer", tiny_manifest(engines=(entry,)), {"model.onnx": tiny_onnx(), "engines/x": b"x"})
    with pytest.raises(BundleMismatchError, match=r"built with tensorrt 12\.0\.0\+; installed is 11\.4\.0\.106"):
        Bundle.open(tmp_path / "a.fer").runner()


def stand_in_module(version: str) -> ModuleType:
    module = ModuleType("tensorrt")
    setattr(module, "__version__", version)  # noqa: B010
    return module


def test_bindings_that_are_too_old_or_do_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", stand_in_module("8.6.1"))
    with pytest.raises(EngineUnavailableError, match=r"TensorRT 8\.6\.1 is installed; fer-edge needs 10\.3 or newer"):
        find_api("tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineUnavailableError, match=r'pip install "fer-edge\[tensorrt\]"'):
        find_api("tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    with pytest.raises(EngineUnavailableError, match=r"is installed but does not load .*reinstall it whole"):
        find_api("tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", stand_in_module("11.4.0.106"))
    assert find_api("tensorrt").name == "TensorRT 11.4.0.106"


def test_status_tells_building_from_running(bindings: BuilderBindings, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(api: Api) -> None:
        raise EngineUnavailableError("PyCUDA cannot be imported")

    monkeypatch.setattr(engine_module, "check_runnable", missing)
    status = engine_status("tensorrt")
    assert (status.can_build, status.can_run, status.reason) == (True, False, "PyCUDA cannot be imported")
    monkeypatch.setattr(engine_module, "check_runnable", lambda api: None)
    assert engine_status("tensorrt").can_run


def test_input_buffers_of_other_engines_are_plain_arrays() -> None:
    with get_engine("onnxruntime").load(Artifact(tiny_onnx(), None, 4), RunOptions()) as runner:
        assert runner.input_buffer().shape == (4, 112, 112, 3)
        assert runner.time_on_device(1, 1) is None
        assert np.all(runner.infer(runner.input_buffer()[:1]).probabilities > 0)
