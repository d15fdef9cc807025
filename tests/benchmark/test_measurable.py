"""What cannot be measured is found before anything is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fer_edge.benchmark.measurable import measurable
from fer_edge.engines.base import Artifact, Runner, RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.errors import EngineError
from tests.cuda_double import Gpu
from tests.engines.tensorrt.test_runner import load
from tests.tiny import tiny_onnx

ALL = ("single-stream", "on-device", "cold-start", "roofline")
NO_LAYERS = "onnxruntime has no layer profiler; engines with one: openvino"
NO_CLOCK = "onnxruntime runs on the processor, which has no clock of its own; engines on a GPU have one"
ELSEWHERE = "`fer-edge predict`, which it starts, runs on GPU 0, and --device says 1"


@pytest.fixture
def runner() -> Iterator[Runner]:
    with get_engine("onnxruntime").load(Artifact(tiny_onnx(), None, 1), RunOptions()) as loaded:
        yield loaded


def test_what_an_engine_has_not_is_left_out_with_the_reason(runner: Runner) -> None:
    scenarios, left_out = measurable(ALL, (), "onnxruntime", runner)
    assert scenarios == ("single-stream", "cold-start")
    assert left_out == {"on-device": NO_CLOCK, "roofline": NO_LAYERS}
    assert measurable(ALL, (), "openvino", runner)[0] == ("single-stream", "cold-start", "roofline")


@pytest.mark.parametrize(("name", "reason"), [("roofline", NO_LAYERS), ("on-device", NO_CLOCK)])
def test_what_was_asked_for_by_name_is_an_error(runner: Runner, name: str, reason: str) -> None:
    with pytest.raises(EngineError) as refused:
        measurable(ALL, ("all", name), "onnxruntime", runner)
    assert str(refused.value) == f"{name} cannot be measured: {reason}; nothing was measured, leave {name} out"


def test_a_cold_start_is_of_the_first_gpu_only(runner: Runner) -> None:
    with load(Gpu(), 1) as on_gpu:
        assert measurable(ALL, ALL[:3], "tensorrt-rtx", on_gpu)[0] == ALL[:3]
        scenarios, left_out = measurable(ALL, (), "tensorrt-rtx", on_gpu, device=1)
        assert scenarios == ("single-stream", "on-device") and left_out["cold-start"] == ELSEWHERE
        with pytest.raises(EngineError, match="cold-start cannot be measured: `fer-edge predict`, which it starts"):
            measurable(ALL, ("cold-start",), "tensorrt-rtx", on_gpu, device=1)
    assert "cold-start" in measurable(ALL, (), "onnxruntime", runner, device=1)[0], "a processor is the same for all"
