"""OpenVINO and ONNX Runtime behind the runner seam."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from fer_edge.engines.available import engine_status, get_engine
from fer_edge.engines.base import Artifact, BuildRequest, Runner, RunOptions
from fer_edge.engines.openvino import ENGINE as OPENVINO
from fer_edge.errors import ConfigError, EngineError, EngineUnavailable, InputError, UnsupportedTarget
from fer_edge.evaluation.parity import relative_error
from tests.tiny import tiny_onnx

ENGINES = ["openvino", "onnxruntime"]
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)


def load(engine: str, **changes: Any) -> Runner:
    return get_engine(engine).load(Artifact(tiny_onnx(**changes), None, 4), RunOptions(threads=1))


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_agree_and_results_stay(engine: str) -> None:
    with load(engine) as runner, load("onnxruntime") as other:
        first = runner.infer(IMAGES[:1])
        kept = first.probabilities.copy()
        assert relative_error(runner.infer(IMAGES).label_logits, other.infer(IMAGES).label_logits) < 1e-5
        runner.infer(IMAGES[1:2])
        assert np.array_equal(first.probabilities, kept)
        np.testing.assert_allclose(kept.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_without_text_head_gives_none(engine: str) -> None:
    with load(engine, text_head=False) as runner:
        assert runner.infer(IMAGES[:1]).text_logits is None


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES.astype(np.float32), "images are float32; expected a numpy array of uint8"),
        ([1], "images are list"),
        (IMAGES[0], r"shape \(112, 112, 3\); expected \(N, 112, 112, 3\)"),
        (IMAGES[:, :, :, :1], "expected"),
        (IMAGES[:0], "a batch of 0 images; this engine takes 1 to 4"),
        (np.repeat(IMAGES, 2, axis=0), "a batch of 6 images"),
    ],
)
def test_wrong_input_is_named(images: Any, message: str) -> None:
    with load("onnxruntime") as runner, pytest.raises(InputError, match=message):
        runner.infer(images)


@pytest.mark.parametrize("engine", ENGINES)
def test_closed_runners_say_so(engine: str) -> None:
    runner = load(engine)
    runner.close()
    runner.close()
    with pytest.raises(EngineError, match="the runner is closed"):
        runner.infer(IMAGES)


@pytest.mark.parametrize("engine", ENGINES)
def test_broken_models_are_refused(engine: str) -> None:
    with pytest.raises(EngineError, match="refused the model"):
        get_engine(engine).build(b"no model", BuildRequest())


@pytest.mark.parametrize("engine", ENGINES)
def test_cpu_engines_take_no_gpu_target(engine: str) -> None:
    with pytest.raises(UnsupportedTarget, match="builds for cpu; got sm89"):
        get_engine(engine).build(tiny_onnx(), BuildRequest(targets=("sm89",)))


def test_a_missing_engine_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineUnavailable, match=r'pip install "fer-edge\[onnxruntime\]"'):
        get_engine("onnxruntime").version()
    assert not engine_status("onnxruntime").can_run


def test_unknown_engines_are_refused() -> None:
    with pytest.raises(ConfigError, match="no engine 'caffe'; expected one of: openvino, onnxruntime, tensorrt, "):
        get_engine("caffe")


def test_runners_beside_each_other_are_not_pinned_to_the_same_core() -> None:
    compiled = OPENVINO.compile_network(OPENVINO.network_for_one(tiny_onnx()), RunOptions(threads=1))
    assert compiled.get_property("ENABLE_CPU_PINNING") is False
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1


def test_ctrl_c_after_two_runners_were_closed_is_no_crash() -> None:
    script = """
import signal
from tests.engines.test_runners import load
first, second = load("openvino"), load("openvino")
first.close()
second.close()
try:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "interrupted\n"), ran.stderr
