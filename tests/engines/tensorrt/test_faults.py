"""Every call of the runner fails once: the error is reported, all objects are freed, and the runner stays usable."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fer_edge.engines.tensorrt.cuda import CudaError
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
# Return values of failed calls of the bindings; all other calls are driver calls, which raise an error.
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
LARGEST = GRAPH_BATCHES + 2  # above GRAPH_BATCHES, so that batches share a context


def open_runner(gpu: Gpu) -> TensorRTRunner:
    return load(gpu, LARGEST, stripped=True)


def use(gpu: Gpu, runner: TensorRTRunner) -> None:
    """Run in all modes."""
    runner.infer(IMAGES[:1])
    runner.infer(IMAGES[: LARGEST - 1])
    stream = gpu.new_stream()
    runner.submit_from_device(put_images(gpu, IMAGES[:2], stream), 2, stream)
    runner.collect()
    runner.time_on_device(1, 1)


def record_calls() -> tuple[list[str], int]:
    """Return the calls of a runner without faults, and the number of calls that load it."""
    gpu = Gpu()
    runner = open_runner(gpu)
    loading = len(gpu.calls)
    use(gpu, runner)
    using = len(gpu.calls)
    runner.close()
    return gpu.calls[:using], loading


CALLS, LOADING = record_calls()
# The first two calls and the last call of each name, both while loading and while running; the others are equivalent.
NUMBERS = sorted(
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
    for number in NUMBERS
    for fault in ([RETURNS[CALLS[number]]] if CALLS[number] in RETURNS else [OUT_OF_MEMORY, LOST, OTHER])
]


def runner_objects(gpu: Gpu) -> dict[str, int]:
    """Return the live objects without the app's own stream and memory."""
    memory = gpu.live["the app's memory"]
    app = {"the app's memory": memory, "stream": 1 if memory else 0}
    return {kind: count - app.get(kind, 0) for kind, count in gpu.live_objects().items() if count != app.get(kind, 0)}


@pytest.mark.parametrize(
    ("number", "fault"), FAULTS, ids=[f"{n}-{CALLS[n]}-{getattr(f, 'code', f)}" for n, f in FAULTS]
)
def test_fault_is_reported_and_frees_everything(number: int, fault: Any) -> None:
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
        assert ("start the process again" in message) == fault.sticky
    else:
        assert f"{call}: Error Code 1: injected" in message
    if runner is not None:
        check_state(gpu, runner, lost=getattr(fault, "sticky", False))
    assert runner_objects(gpu) == {}
    if not getattr(fault, "sticky", False):
        with open_runner(gpu) as second_runner, reference(LARGEST) as other:
            assert_equal(second_runner.infer(IMAGES[:3]), other.infer(IMAGES[:3]))
        assert runner_objects(gpu) == {}


def check_state(gpu: Gpu, runner: TensorRTRunner, *, lost: bool) -> None:
    """Check that a runner with a lost context is closed, and that any other runner still gives correct outputs."""
    if lost:
        with pytest.raises(EngineError, match="the runner is closed; load the bundle again"):
            runner.infer(IMAGES[:1])
    else:
        with reference(LARGEST) as other:
            for batch in (1, LARGEST - 1, LARGEST):
                assert_equal(runner.infer(IMAGES[:batch]), other.infer(IMAGES[:batch]))
    runner.close()


def calls_of_infer() -> list[str]:
    """Return the calls of one `infer`."""
    gpu = Gpu()
    with load(gpu) as runner:
        gpu.calls.clear()
        runner.infer(IMAGES[:2])
        return list(gpu.calls)


@pytest.mark.parametrize(("number", "call"), list(enumerate(calls_of_infer())))
def test_batch_interrupted_by_a_signal_is_dropped(number: int, call: str) -> None:
    gpu = Gpu()
    with load(gpu) as runner, reference(4) as other:
        gpu.faults[len(gpu.calls) + number] = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            runner.infer(IMAGES[:2])
        stream = gpu.streams[runner._device.stream]
        assert stream.done == len(stream.work), "the stream still has work"
        with pytest.raises(EngineError, match="no batch is in flight"):
            runner.collect()
        assert_equal(runner.infer(IMAGES[1:4]), other.infer(IMAGES[1:4]))
    assert gpu.live_objects() == {}


def test_faults_cover_every_call() -> None:
    assert {CALLS[number] for number, _ in FAULTS} == set(CALLS)
    assert set(RETURNS) <= set(CALLS)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
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
        ("Error Code 2: OutOfMemory", EngineError, "GPU's memory is full: close other programs that use it"),
        ("libcudart.so.12: undefined symbol", EngineUnavailableError, "the CUDA packages have different versions"),
        ("something else", EngineError, "does not load the engine: something else; build it again"),
    ],
)
def test_tensorrt_error_while_loading_is_explained(text: str, kind: type[Exception], message: str) -> None:
    gpu = Gpu()
    with pytest.raises(kind, match=message):
        load(gpu, refuses=text)
    assert gpu.live_objects() == {}


@pytest.mark.parametrize("name", ["Runtime", "Refitter"])
@pytest.mark.parametrize(
    ("warning", "message"),
    [
        ("CUDA initialization failure with error: 35. Please check", "does not start; the NVIDIA driver is too old"),
        ("compute capability", "does not start: no reason given. TensorRT builds and runs engines on the same"),
    ],
)
def test_runtime_or_refitter_that_does_not_start_is_explained(
    name: str, warning: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Gpu()
    monkeypatch.setattr(Bindings, "start_failures", {name: warning})
    with pytest.raises(EngineUnavailableError, match=f"TensorRT 11.4.0.106's {name.lower()} {message}"):
        load(gpu, stripped=True)
    assert gpu.live_objects() == {}


def test_warning_at_start_explains_a_failed_load(monkeypatch: pytest.MonkeyPatch) -> None:
    class WarningRuntime(Runtime):
        def __init__(self, trt: Bindings) -> None:
            super().__init__(trt)
            trt.log("CUDA initialization failure with error: 35. Please check", Severity.WARNING)

    monkeypatch.setattr(bindings_double, "Runtime", WarningRuntime)
    with pytest.raises(EngineUnavailableError, match="does not load the engine; the NVIDIA driver is too old"):
        load(Gpu(), refuses="no context")


def test_engine_of_another_model_is_refused() -> None:
    gpu = Gpu()
    with pytest.raises(EngineError, match=r"the engine has tensors pixels FLOAT.*expected images of UINT8"):
        load(gpu, model=tiny_onnx().replace(b"images", b"pixels"))
    assert gpu.live_objects() == {}


def test_batch_outside_all_profiles_is_an_engine_error() -> None:
    gpu = Gpu()
    with load(gpu, 2, graphs=False) as runner:
        runner.max_batch = 4
        runner._input_views = runner._input_views * 2
        with pytest.raises(EngineError, match="the engine does not accept a batch of 3; its profiles accept 1 to 2"):
            runner.submit(3)


def test_input_buffer_outlives_the_runner() -> None:
    runner = load(Gpu())
    buffer = runner.input_buffer()
    runner.close()
    buffer[:] = 7
    assert np.all(buffer == 7)
