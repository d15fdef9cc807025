"""Real TensorRT-RTX builds, with no GPU."""

from __future__ import annotations

import sys

import pytest

from fer_edge.engines.available import get_engine
from fer_edge.engines.base import Artifact, BuildRequest, Precision, RunOptions
from fer_edge.errors import EngineError, EngineUnavailable, UnsupportedTarget
from fer_edge.export.onnx_graph import onnx_from_checkpoint
from tests.tiny_model import tiny_checkpoint

RTX = get_engine("tensorrt-rtx")


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    pytest.importorskip(
        "tensorrt_rtx", reason="TensorRT-RTX is not installed; it has wheels for Linux and Windows on x86-64"
    )


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_builds_one_engine_for_three_gpus(precision: Precision) -> None:
    model = onnx_from_checkpoint(tiny_checkpoint(), precision)
    built = RTX.build(model, BuildRequest(precision, ("sm86", "sm89", "sm120"), 4))
    assert built.targets == ("sm86", "sm89", "sm120")
    assert built.file is not None and len(built.file) > 10_000


def test_turing_in_fp32_is_refused_before_the_builder_is_called() -> None:
    with pytest.raises(UnsupportedTarget, match=r"no fp32 matrix products on sm75.*--precision fp16"):
        RTX.build(b"not even a model", BuildRequest("fp32", ("sm75",)))


def test_turing_is_built_alone() -> None:
    with pytest.raises(UnsupportedTarget, match="sm75 only by itself"):
        RTX.build(b"", BuildRequest("fp16", ("sm75", "sm89")))


def test_unknown_targets_are_named() -> None:
    with pytest.raises(UnsupportedTarget, match=r"does not build for sm61; expected some of: sm75, sm80"):
        RTX.build(b"", BuildRequest("fp32", ("sm61", "sm89")))


def test_an_unreadable_model_is_an_engine_error() -> None:
    with pytest.raises(EngineError, match="TensorRT-RTX cannot read the model"):
        RTX.build(b"no model", BuildRequest("fp32", ("sm89",)))


def test_running_says_that_it_is_not_there_yet() -> None:
    with pytest.raises(EngineUnavailable, match="builds TensorRT-RTX engines but does not run them"):
        RTX.load(Artifact(b"", b"", 1), RunOptions())


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(EngineUnavailable, match=r'pip install "fer-edge\[tensorrt-rtx\]"'):
        RTX.version()
