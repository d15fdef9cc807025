"""Scenarios of the runner on the real PyCUDA and cuda-python with a fake driver library. Run by test_pycuda.py.

Each function is one scenario and runs in its own process. A scenario that passes prints nothing.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fer_edge.engines.base import Artifact, RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.engines.tensorrt import runner as runner_module
from fer_edge.engines.tensorrt.cuda import CudaDevice
from fer_edge.engines.tensorrt.deserialized import DeserializedEngine
from fer_edge.engines.tensorrt.device import Bytes
from fer_edge.engines.tensorrt.runner import TensorRTRunner
from fer_edge.errors import EngineError
from fer_edge.hardware.gpu import read_driver
from tests.bindings_double import api_double, plan
from tests.cuda_double import Gpu
from tests.tiny import tiny_onnx

MODEL = tiny_onnx()
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 112, 112, 3), dtype=np.uint8)
CUDA = ctypes.CDLL("libcuda.so.1")
FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
NO_OBJECTS = "contexts 0, memory 0, page-locked 0, streams 0, events 0, graphs 0"


class FakeGpu(Gpu):
    """The part of `Gpu` that the simulated bindings use, implemented by the fake driver."""

    def __init__(self) -> None:
        super().__init__()
        self.functions: list[Any] = []  # ctypes functions must stay alive until they have run

    def memory_at(self, address: int, size: int) -> Bytes:
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def is_capturing(self, handle: int) -> bool:
        return False

    def enqueue(self, handle: int, work: Callable[[], None]) -> None:
        function = FUNCTION(lambda _: work())
        self.functions.append(function)
        CUDA.fake_enqueue(ctypes.c_void_p(handle), function, None)


def live_objects() -> str:
    text = ctypes.create_string_buffer(200)
    CUDA.fake_live_objects(text, len(text))
    assert CUDA.fake_depth() == 0, "a context is still current"
    return text.value.decode()


def load(gpu: FakeGpu, **options: Any) -> TensorRTRunner:
    artifact = Artifact(MODEL, plan(MODEL, 8), 8)
    api = api_double(gpu)
    return TensorRTRunner(CudaDevice, lambda: DeserializedEngine(api, artifact, RunOptions()), 8, **options)


def outputs_match_onnx_runtime() -> None:
    assert read_driver().gpus[0].target == "sm89"
    reference = get_engine("onnxruntime").load(Artifact(MODEL, None, 8), RunOptions(threads=1))
    for graphs in (True, False):
        with load(FakeGpu(), graphs=graphs) as runner:
            for batch in (*range(1, 9), 1, 8):
                outputs, expected = runner.infer(IMAGES[:batch]), reference.infer(IMAGES[:batch])
                for output, expected_output in zip(outputs, expected, strict=True):
                    assert output is not None and expected_output is not None
                    np.testing.assert_allclose(output, expected_output, rtol=0, atol=1e-5)
            created = CUDA.fake_created()
            for _ in range(1000):
                runner.infer(IMAGES[:3])
            assert CUDA.fake_created() == created, "a frame allocated an object"
            assert runner.time_on_device(2, 3, graph=False) is not None
        assert live_objects() == NO_OBJECTS, live_objects()


def frames_in_gpu_memory() -> None:
    gpu = FakeGpu()
    reference = get_engine("onnxruntime").load(Artifact(MODEL, None, 8), RunOptions(threads=1))
    app = CudaDevice()
    with load(gpu) as runner, app:
        frame = app.page_locked(IMAGES[:3].nbytes)
        frame[:] = IMAGES[:3].ravel()
        address = app.allocate(frame.nbytes)
        app.copy_in(address, frame)
        runner.submit_from_device(address, 3, app.stream)
        app.copy_in(address, app.page_locked(frame.nbytes))  # the next frame, black
        app.synchronize()
        np.testing.assert_allclose(runner.collect().label_logits, reference.infer(IMAGES[:3]).label_logits, atol=1e-5)
    del frame
    app.close()
    assert live_objects() == NO_OBJECTS, live_objects()


CALLS = """
cuInit cuDeviceGet cuDevicePrimaryCtxRetain cuDeviceGetAttribute cuStreamCreate cuEventCreate cuMemHostAlloc
cuMemAlloc_v2 cuMemcpyHtoDAsync_v2 cuMemcpyDtoHAsync_v2 cuStreamBeginCapture_v2 cuStreamEndCapture
cuGraphInstantiateWithFlags cuGraphUpload cuGraphLaunch cuEventRecord cuStreamSynchronize cuCtxPushCurrent_v2
cuCtxPopCurrent_v2 cuMemcpyDtoDAsync_v2 cuStreamWaitEvent cuEventElapsedTime_v2
"""
FREEING = """
cuGraphExecDestroy cuEventDestroy_v2 cuStreamDestroy_v2 cuMemFree_v2 cuMemFreeHost cuCtxPopCurrent_v2
cuDevicePrimaryCtxRelease_v2
"""


def failing_calls() -> None:
    for call in CALLS.split():
        for code, text in ((2, "out of memory"), (700, "an illegal memory access was encountered")):
            # When memory runs out, PyCUDA collects garbage and tries again.
            CUDA.fake_fail(call.encode(), 2 if call == "cuMemAlloc_v2" else 1, code)
            try:
                with load(FakeGpu()) as runner:
                    use_all_modes(runner)
            except EngineError as error:
                assert text in str(error), (call, error)
                assert ("start the process again" in str(error)) == (code == 700), (call, error)
                assert ("memory is full" in str(error)) == (code == 2), (call, error)
            else:
                raise AssertionError(f"the failure of {call} was not reported")
            gc.collect()
            CUDA.fake_reset()
            assert live_objects() == NO_OBJECTS, (call, code, live_objects())


def use_all_modes(runner: TensorRTRunner) -> None:
    runner.infer(IMAGES[:1])
    runner.time_on_device(1, 1)
    runner.submit_from_device(IMAGES.ctypes.data, 2, runner._device.stream)
    runner.collect()


def failing_calls_while_closing() -> None:
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)  # PyCUDA prints the objects that it cannot free
    for call in FREEING.split():
        runner = load(FakeGpu())
        use_all_modes(runner)
        CUDA.fake_fail(call.encode(), 1, 999)
        runner.close()
        assert CUDA.fake_depth() == 0, call
    os.dup2(stderr, 2)
    with load(FakeGpu()) as runner:
        use_all_modes(runner)
    # One object of each kind, which the driver did not free, and no others.
    assert live_objects() == NO_OBJECTS.replace(" 0", " 1"), live_objects()
    atexit.unregister(print_live_objects)


def failing_capture() -> None:
    def refuse() -> None:
        raise EngineError("no")

    device = CudaDevice()
    with device:
        try:
            device.capture(refuse)
        except EngineError:
            device.synchronize()  # fails in a stream that still captures
    device.close()
    assert live_objects() == NO_OBJECTS, live_objects()


def threads() -> None:
    gpu, failures = FakeGpu(), []
    runner = load(gpu)
    CUDA.fake_slow(300)
    beats = []

    def work() -> None:
        try:
            runner.infer(IMAGES[:1])
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        beats.append(time.monotonic())
        time.sleep(0.01)
    thread.join()
    CUDA.fake_slow(0)
    assert not failures, failures
    assert len(beats) > 10, "the GIL was held while waiting for the GPU"
    closer = threading.Thread(target=runner.close)
    closer.start()
    closer.join()
    assert live_objects() == NO_OBJECTS, live_objects()


def input_buffer_outlives_runner() -> None:
    runner = load(FakeGpu())
    buffer = runner.input_buffer()
    runner.close()
    buffer[:] = 7
    assert int(buffer.sum()) == 7 * buffer.size
    expected = NO_OBJECTS.replace("contexts 0", "contexts 1").replace("page-locked 0", "page-locked 1")
    assert live_objects() == expected, live_objects()
    view = buffer[:1]
    del buffer
    assert int(view.sum()) == 7 * view.size
    del view
    assert live_objects() == NO_OBJECTS, live_objects()


def open_runner_at_exit() -> None:
    runner = load(FakeGpu())
    runner.infer(IMAGES[:1])
    OPEN.append(runner)


def print_live_objects() -> None:
    if live_objects() != NO_OBJECTS:
        print(live_objects(), file=sys.stderr)


OPEN: list[TensorRTRunner] = []

if __name__ == "__main__":
    # Run the check last, after the open runners are closed.
    atexit.unregister(runner_module._close_open_runners)
    atexit.register(print_live_objects)
    atexit.register(runner_module._close_open_runners)
    globals()[sys.argv[1]]()
