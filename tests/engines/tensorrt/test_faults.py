"""Every call of the runner fails once: it is told, everything is freed, and nothing is spoilt that CUDA would not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fer_edge.engines.tensorrt.device import CudaError
from fer_edge.engines.tensorrt.runner import GRAPH_BATCHES, TensorRTRunner
from fer_edge.errors import BundleMismatchError, EngineError, EngineUnavailableError
from tests import bindings_double
from tests.bindings_double import Bindings, Runtime, Severity
from tests.cuda_double import Gpu
from tests.engines.tensorrt.test_runner import IMAGES, assert_equal, load, put_images, reference
from tests.tiny import tiny_onnx

OUT_OF_MEMORY = CudaError("", "CUDA_ERROR_OUT_OF_MEMORY", "out of memory")
LOST = CudaError("", "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered")
OTHER = CudaError("", "CUDA_ERROR_INVALID_VALUE", "invalid argument")
# Calls of the bindings fail by what they return; all others are the driver's.
RETURNS: dict[str, Any] = {
    "deserialize": "none",
    "create_execution_context": "none",
    "set_optimization_profile_async": False,
    "set_input_shape": False,
    "set_tensor_address": False,
    "execute_async_v3": False,
    "refit_from_bytes": False,
    "refit_cuda_engine": False,
}
MOST = GRAPH_BATCHES + 2  # so that one context is changed from batch to batch


def open_runner(gpu: Gpu) -> TensorRTRunner:
    return load(gpu, MOST, stripped=True)


def use(gpu: Gpu, runner: TensorRTRunner) -> None:
    """Every way to run."""
    runner.infer(IMAGES[:1])
    runner.infer(IMAGES[: MOST - 1])
    stream = gpu.stream()
    runner.submit_from_device(put_images(gpu, IMAGES[:2], stream), 2, stream)
    runner.collect()
    runner.time_on_device(1, 1)


def recorded() -> tuple[list[str], int]:
    """The calls of a life without faults, and how many of them are loading."""
    gpu = Gpu()
    runner = open_runner(gpu)
    loading = len(gpu.calls)
    use(gpu, runner)
    using = len(gpu.calls)
    runner.close()
    return gpu.calls[:using], loading


CALLS, LOADING = recorded()
# The first, second and last call of a name, while loading and while running: the ones between are alike.
PLACES = sorted(
    {
        number
        for part in (range(LOADING), range(LOADING, len(CALLS)))
        for name in set(CALLS)
        for numbers in [[number for number in part if CALLS[number] == name]]
        for number in [*numbers[:2], *numbers[-1:]]
    }
)
FAULTS = [
    (number, fault)
    for number in PLACES
    for fault in ([RETURNS[CALLS[number]]] if CALLS[number] in RETURNS else [OUT_OF_MEMORY, LOST, OTHER])
]


def ours(gpu: Gpu) -> dict[str, int]:
    """What the runner holds; the app's own streams and memory apart."""
    apps = {"the app's memory": gpu.held["the app's memory"], "stream": 1 if gpu.held["the app's memory"] else 0}
    return {kind: count - apps.get(kind, 0) for kind, count in gpu.ledger().items() if count != apps.get(kind, 0)}


@pytest.mark.parametrize(
    ("number", "fault"), FAULTS, ids=[f"{n}-{CALLS[n]}-{getattr(f, 'code', f)}" for n, f in FAULTS]
)
def test_a_fault_is_told_and_nothing_is_kept(number: int, fault: Any) -> None:
    gpu, call = Gpu(), CALLS[number]
    gpu.faults[number] = fault
    runner = None
    with pytest.raises(EngineError) as caught:
        runner = open_runner(gpu)
        use(gpu, runner)
    message = str(caught.value)
    if isinstance(fault, CudaError):
        assert f"{call} failed: {fault.text} ({fault.code})" in message
        assert ("GPU's memory is full" in message) == fault.out_of_memory
        assert ("start the process anew" in message) == fault.sticky
    else:
        assert f"{call}: Error Code 1: planted" in message
    if runner is not None:
        check_state(gpu, runner, lost=getattr(fault, "sticky", False))
    assert ours(gpu) == {}
    if not getattr(fault, "sticky", False):
        with open_runner(gpu) as again, reference(MOST) as other:
            assert_equal(again.infer(IMAGES[:3]), other.infer(IMAGES[:3]))
        assert ours(gpu) == {}


def check_state(gpu: Gpu, runner: TensorRTRunner, *, lost: bool) -> None:
    """A runner that lost its context is closed; any other one runs on with right values."""
    if lost:
        with pytest.raises(EngineError, match="the runner is closed; load the bundle again"):
            runner.infer(IMAGES[:1])
    else:
        with reference(MOST) as other:
            for batch in (1, MOST - 1, MOST):
                assert_equal(runner.infer(IMAGES[:batch]), other.infer(IMAGES[:batch]))
    runner.close()


def calls_of_a_frame() -> list[str]:
    """What `infer` calls."""
    gpu = Gpu()
    with load(gpu) as runner:
        gpu.calls.clear()
        runner.infer(IMAGES[:2])
        return list(gpu.calls)


@pytest.mark.parametrize(("number", "call"), list(enumerate(calls_of_a_frame())))
def test_a_batch_that_a_signal_interrupts_is_dropped(number: int, call: str) -> None:
    gpu = Gpu()
    with load(gpu) as runner, reference(4) as other:
        gpu.faults[len(gpu.calls) + number] = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            runner.infer(IMAGES[:2])
        assert gpu.streams[runner._device.stream].done == len(gpu.streams[runner._device.stream].work), "work is left"
        with pytest.raises(EngineError, match="no batch is in flight"):
            runner.collect()
        assert_equal(runner.infer(IMAGES[1:4]), other.infer(IMAGES[1:4]))
    assert gpu.ledger() == {}


def test_every_call_is_among_the_faults() -> None:
    assert {CALLS[number] for number, _ in FAULTS} == set(CALLS)
    assert set(RETURNS) <= set(CALLS)


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        (
            "cudaError 35: CUDA driver version is insufficient",
            EngineUnavailableError,
            "driver is too old for these packages",
        ),
        ("CUDA initialization failure with error: 35. Please check", EngineUnavailableError, "driver is too old"),
        ("CUDA initialization failure with error: 100. Please check", EngineUnavailableError, "driver finds no GPU"),
        ("no CUDA-capable device is detected", EngineUnavailableError, "run it with --gpus all"),
        (
            "host code is not allowed: lean runtime",
            EngineError,
            "allow it with --allow-host-code, in Python with allow_host_code=True",
        ),
        (
            "generated on a device of compute capability 8.6",
            BundleMismatchError,
            "built for another GPU: build it again",
        ),
        ("incompatible serialization version", BundleMismatchError, "built with another version of TensorRT"),
        ("plan is for another platform", BundleMismatchError, "built for another operating system"),
        ("Error Code 2: OutOfMemory", EngineError, "GPU's memory is full: close what else uses it"),
        ("libcudart.so.12: undefined symbol", EngineUnavailableError, "the CUDA packages are not of one version"),
        ("something else", EngineError, "does not load the engine: something else; build it again"),
    ],
)
def test_what_tensorrt_says_when_loading_is_explained(said: str, kind: type[Exception], message: str) -> None:
    gpu = Gpu()
    with pytest.raises(kind, match=message):
        load(gpu, refuses=said)
    assert gpu.ledger() == {}


@pytest.mark.parametrize("made", ["Runtime", "Refitter"])
@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("CUDA initialization failure with error: 35. Please check", "does not start; the NVIDIA driver is too old"),
        ("compute capability", "does not start: no reason given. TensorRT builds on the GPU it builds for, and runs"),
    ],
)
def test_a_runtime_or_refitter_that_does_not_start_is_explained(
    made: str, said: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Gpu()
    monkeypatch.setattr(Bindings, "no_cuda", {made: said})
    with pytest.raises(EngineUnavailableError, match=f"TensorRT 11.4.0.106's {made.lower()} {message}"):
        load(gpu, stripped=True)
    assert gpu.ledger() == {}


def test_what_is_said_while_the_runtime_starts_explains_a_failed_load(monkeypatch: pytest.MonkeyPatch) -> None:
    class WarningRuntime(Runtime):
        def __init__(self, trt: Bindings) -> None:
            super().__init__(trt)
            trt.say("CUDA initialization failure with error: 35. Please check", Severity.WARNING)

    monkeypatch.setattr(bindings_double, "Runtime", WarningRuntime)
    with pytest.raises(EngineUnavailableError, match="does not load the engine; the NVIDIA driver is too old"):
        load(Gpu(), refuses="no context")


def test_an_engine_of_another_model_is_refused() -> None:
    gpu = Gpu()
    with pytest.raises(EngineError, match=r"the engine has tensors pixels FLOAT.*expected images of UINT8"):
        load(gpu, model=tiny_onnx().replace(b"images", b"pixels"))
    assert gpu.ledger() == {}


def test_a_batch_no_profile_takes_is_an_engine_error() -> None:
    gpu = Gpu()
    with load(gpu, 2, graphs=False) as runner:
        runner.max_batch = 4
        runner._input_views = runner._input_views * 2
        with pytest.raises(EngineError, match="the engine takes no batch of 3; its profiles take 1 to 2"):
            runner.submit(3)


def test_a_held_input_buffer_outlives_the_runner() -> None:
    runner = load(Gpu())
    buffer = runner.input_buffer()
    runner.close()
    buffer[:] = 7
    assert np.all(buffer == 7)
