"""Selection of scenarios: names, settings without effect, and scenarios that an engine does not support."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fer_edge.benchmark.registry import SCENARIOS, check_settings, select_scenarios, split_supported
from fer_edge.benchmark.scenarios import scenario_names
from fer_edge.engines.base import Artifact, Runner, RunOptions
from fer_edge.engines.registry import get_engine, get_profiler
from fer_edge.errors import ConfigError, EngineError
from tests.cuda_double import Gpu
from tests.engines.tensorrt.test_runner import load
from tests.tiny import tiny_onnx

ALL = ("single-stream", "on-device", "cold-start", "roofline")
NEEDS_GPU = "onnxruntime runs on the CPU; on-device timing needs a GPU engine"


def profiler_reason() -> str:
    with pytest.raises(EngineError) as refused:
        get_profiler("onnxruntime")
    return str(refused.value)


@pytest.fixture
def runner() -> Iterator[Runner]:
    with get_engine("onnxruntime").load(Artifact(tiny_onnx(), None, 1), RunOptions()) as loaded:
        yield loaded


def test_names_are_those_of_the_modules() -> None:
    assert sorted(SCENARIOS) == scenario_names() and len({scenario.order for scenario in SCENARIOS.values()}) == 10
    assert all(name == scenario.name and scenario.title for name, scenario in SCENARIOS.items())


def test_scenarios_run_in_the_order_of_the_table() -> None:
    assert select_scenarios(["open-loop", "single-stream"]) == ("single-stream", "open-loop")
    assert select_scenarios(["batches", "all"]) == tuple(SCENARIOS)
    assert select_scenarios(None) == select_scenarios([]) == ("single-stream", "batches", "on-device")


def test_unknown_scenario_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(
        ConfigError, match=r"no scenario 'batch'; expected one of: single-stream, .*did you mean batches"
    ):
        select_scenarios(["batch"])


def test_settings_without_effect_are_refused() -> None:
    check_settings(("scaling", "open-loop"), {"seconds", "rates"})
    for scenario, setting in (("batches", "queries"), ("roofline", "seconds"), ("batches", "minutes")):
        with pytest.raises(ConfigError, match=rf"^{setting} applies only to the scenarios? .*omit {setting}"):
            check_settings((scenario,), {setting})


def test_unsupported_scenarios_are_skipped_with_the_reason(runner: Runner) -> None:
    scenarios, skipped = split_supported(ALL, (), "onnxruntime", runner)
    assert scenarios == ("single-stream", "cold-start")
    assert skipped == {"on-device": NEEDS_GPU, "roofline": profiler_reason()}
    assert split_supported(ALL, (), "openvino", runner)[0] == ("single-stream", "cold-start", "roofline")


@pytest.mark.parametrize("name", ["roofline", "on-device"])
def test_unsupported_required_scenario_is_an_error(runner: Runner, name: str) -> None:
    reason = {"roofline": profiler_reason(), "on-device": NEEDS_GPU}[name]
    with pytest.raises(EngineError) as refused:
        split_supported(ALL, ("all", name), "onnxruntime", runner)
    assert str(refused.value) == f"{name} is not supported: {reason}; nothing was measured, omit {name}"


def test_cold_start_runs_on_gpu_0_only(runner: Runner) -> None:
    with load(Gpu(), 1) as on_gpu:
        assert split_supported(ALL, ALL[:3], "tensorrt-rtx", on_gpu)[0] == ALL[:3]
        scenarios, skipped = split_supported(ALL, (), "tensorrt-rtx", on_gpu, device=1)
        assert scenarios == ("single-stream", "on-device")
        assert skipped["cold-start"] == "it measures GPU 0 only, and the device is 1"
        with pytest.raises(EngineError, match="cold-start is not supported: it measures GPU 0 only"):
            split_supported(ALL, ("cold-start",), "tensorrt-rtx", on_gpu, device=1)
    assert "cold-start" in split_supported(ALL, (), "onnxruntime", runner, device=1)[0], "the CPU has no index"
