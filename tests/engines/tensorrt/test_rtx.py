"""Builds with the real TensorRT-RTX, on a machine without a GPU."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from fer_edge.engines.base import BuildRequest, Precision
from fer_edge.engines.registry import get_engine
from fer_edge.errors import ConfigError, EngineError, EngineUnavailableError, UnsupportedTargetError
from fer_edge.export.onnx_graph import onnx_from_checkpoint
from fer_edge.hardware.gpu import read_driver
from tests.tiny import tiny_onnx
from tests.tiny_model import tiny_checkpoint

RTX = get_engine("tensorrt-rtx")


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    pytest.importorskip(
        "tensorrt_rtx", reason="TensorRT-RTX is not installed; it has wheels for Linux and Windows on x86-64"
    )


def build(model: bytes | None = None, targets: tuple[str, ...] = ("sm89",), **options: Any) -> int:
    """Build an engine and return the size of its file."""
    request = BuildRequest("fp32", targets, 4, options)
    built = RTX.build(tiny_onnx() if model is None else model, request)
    assert built.file is not None and built.platform is None
    return len(built.file)


def has_gpu() -> bool:
    try:
        return bool(read_driver().gpus)
    except EngineUnavailableError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_one_engine_file_serves_three_gpus(precision: Precision) -> None:
    model = onnx_from_checkpoint(tiny_checkpoint(), precision)
    built = RTX.build(model, BuildRequest(precision, ("sm86", "sm89", "sm120"), 4))
    assert built.targets == ("sm86", "sm89", "sm120")
    assert built.file is not None and len(built.file) > 10_000


def test_each_profile_adds_to_the_file() -> None:
    assert build(optimal_batches=[1, 4]) > 1.5 * build()


@pytest.mark.parametrize(
    "options",
    [
        {"optimization_level": 0},
        {"optimization_level": 5},
        {"workspace_mb": 64},
        {"tf32": True},
        {"optimal_batches": 4},
        {"optimal_batches": [2, 3]},
    ],
)
def test_supported_options_are_accepted(options: dict[str, Any]) -> None:
    assert build(**options) > 10_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timing_cache": "x"}, r"TensorRT-RTX \S+ has no timing_cache; leave it out"),
        ({"version_compatible": True}, "has no version_compatible"),
        ({"hardware_compatible": "ampere-plus"}, "its engines run on every target they are built for; leave it out"),
        ({"platform": "windows-x86_64"}, "run on Linux and Windows as they are"),
        ({"aux_streams": 2}, "has no aux_streams"),
    ],
)
def test_options_that_the_builder_ignores_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedTargetError, match=message):
        build(**options)


@pytest.mark.skipif(has_gpu(), reason="the message of a machine without a GPU")
def test_build_without_weights_needs_a_gpu() -> None:
    with pytest.raises(EngineError, match="builds engines without weights only on a machine with an NVIDIA GPU"):
        build(weights="stripped")


def test_progress_is_reported_by_phase() -> None:
    steps: list[tuple[str, int, int]] = []
    RTX.build(tiny_onnx(), BuildRequest("fp32", ("sm89",), 4, progress=lambda *step: steps.append(step)))
    assert steps[0][:2] == ("Building engine", 0)
    assert steps[-1][0] == "Building engine" and steps[-1][1] == steps[-1][2]
    assert all(0 <= done <= total for _, done, total in steps)


def test_exception_in_the_callback_cancels_the_build() -> None:
    def stop(phase: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RTX.build(tiny_onnx(), BuildRequest("fp32", ("sm89",), 4, progress=stop))
    assert build() > 10_000  # the builder is still usable


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Install Python's SIGINT handler, which is missing in a background process."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.slow
@pytest.mark.usefixtures("_interruptible")
def test_ctrl_c_cancels_the_build() -> None:
    # A real signal while native code runs: Python would raise KeyboardInterrupt in the next callback, which TensorRT
    # swallows.
    sent = threading.Event()

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        sent.set()

    def once_building(phase: str, done: int, total: int) -> None:
        if not sent.is_set() and not timer.is_alive():
            timer.start()

    timer = threading.Timer(0.01, interrupt)
    model = onnx_from_checkpoint(tiny_checkpoint(), "fp32")
    with pytest.raises(KeyboardInterrupt):
        RTX.build(model, BuildRequest("fp32", ("sm86", "sm89"), 4, progress=once_building))
    assert sent.is_set() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert build() > 10_000


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize("where", ["another thread", "an app's own handler"])
def test_signal_handler_of_the_app_is_not_replaced(where: str) -> None:
    def build_and_record() -> None:
        RTX.build(tiny_onnx(), BuildRequest("fp32", ("sm89",), 4, progress=record))

    def record(phase: str, done: int, total: int) -> None:
        handlers.add(signal.getsignal(signal.SIGINT))

    def handle(number: int, frame: FrameType | None) -> None:
        pass

    handlers: set[Any] = set()
    if where == "another thread":
        with ThreadPoolExecutor(1) as threads:
            threads.submit(build_and_record).result()
        assert handlers == {signal.default_int_handler}
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        build_and_record()
    finally:
        signal.signal(signal.SIGINT, before)
    assert handlers == {handle}


def test_optimal_batch_above_max_batch_is_refused() -> None:
    with pytest.raises(ConfigError, match="optimal_batches has 8; the engine takes at most 4"):
        build(optimal_batches=[8])


def test_turing_in_fp32_is_refused_before_the_build() -> None:
    with pytest.raises(UnsupportedTargetError, match=r"no fp32 matrix products on sm75.*--precision fp16"):
        RTX.build(b"not even a model", BuildRequest("fp32", ("sm75",)))


def test_turing_with_other_targets_is_refused() -> None:
    with pytest.raises(UnsupportedTargetError, match="sm75 only by itself"):
        RTX.build(b"", BuildRequest("fp16", ("sm75", "sm89")))


def test_unknown_targets_are_refused() -> None:
    with pytest.raises(UnsupportedTargetError, match=r"does not build for sm61; expected some of: sm75, sm80"):
        RTX.build(b"", BuildRequest("fp32", ("sm61", "sm89")))


def test_unreadable_model_is_an_engine_error() -> None:
    with pytest.raises(EngineError, match=r"TensorRT-RTX \S+ cannot read the model: "):
        RTX.build(b"no model", BuildRequest("fp32", ("sm89",)))


def test_builder_errors_are_reported() -> None:
    with pytest.raises(EngineError, match=r"could not build the engine: .*Dynamic input tensor pixels"):
        build(tiny_onnx().replace(b"images", b"pixels"))


def test_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(EngineUnavailableError, match=r'pip install "fer-edge\[tensorrt-rtx\]"'):
        RTX.version()
