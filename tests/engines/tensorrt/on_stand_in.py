"""The real PyCUDA and cuda-python under the runner, on a stand-in for the driver's library. Run by test_pycuda.py.

Each function is a scenario of its own process; it prints nothing when all is well.
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
from fer_edge.engines.tensorrt.deserialized import LoadedEngine
from fer_edge.engines.tensorrt.device import Bytes
from fer_edge.engines.tensorrt.driver import read_driver
from fer_edge.engines.tensorrt.runner import TensorRTRunner
from fer_edge.errors import EngineError
from tests.bindings_double import api_double, plan
from tests.cuda_double import Gpu
from tests.tiny import tiny_onnx

MODEL = tiny_onnx()
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 112, 112, 3), dtype=np.uint8)
CUDA = ctypes.CDLL("libcuda.so.1")
FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
NOTHING = "contexts 0, memory 0, page-locked 0, streams 0, events 0, graphs 0"


class StandIn(Gpu):
    """What the double of the bindings needs to know of a GPU, answered by the stand-in's library."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []

    def at(self, address: int, size: int) -> Bytes:
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def is_capturing(self, handle: int) -> bool:
        return False

    def put(self, handle: int, work: Callable[[], None]) -> None:
        function = FUNCTION(lambda _: work())
        self.kept.append(function)
        CUDA.stand_in_put(ctypes.c_void_p(handle), function, None)


def held() -> str:
    text = ctypes.create_string_buffer(200)
    CUDA.stand_in_held(text, len(text))
    assert CUDA.stand_in_depth() == 0, "a context was left current"
    return text.value.decode()


def load(gpu: StandIn, **options: Any) -> TensorRTRunner:
    artifact = Artifact(MODEL, plan(MODEL, 8), 8)
    api = api_double(gpu)
    return TensorRTRunner(CudaDevice, lambda: LoadedEngine(api, artifact, RunOptions()), 8, **options)


def values() -> None:
    assert read_driver().gpus[0].target == "sm89"
    reference = get_engine("onnxruntime").load(Artifact(MODEL, None, 8), RunOptions(threads=1))
    for graphs in (True, False):
        with load(StandIn(), graphs=graphs) as runner:
            for batch in (*range(1, 9), 1, 8):
                found, expected = runner.infer(IMAGES[:batch]), reference.infer(IMAGES[:batch])
                for ours, theirs in zip(found, expected, strict=True):
                    assert ours is not None and theirs is not None
                    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
            made = CUDA.stand_in_made()
            for _ in range(1000):
                runner.infer(IMAGES[:3])
            assert CUDA.stand_in_made() == made, "something was allocated per frame"
            assert runner.time_on_device(2, 3, graph=False) is not None
        assert held() == NOTHING, held()


def frames_on_the_gpu() -> None:
    gpu = StandIn()
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
    assert held() == NOTHING, held()


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


def faults() -> None:
    for call in CALLS.split():
        for code, words in ((2, "out of memory"), (700, "an illegal memory access was encountered")):
            # PyCUDA collects garbage and tries again when memory runs out.
            CUDA.stand_in_fail(call.encode(), 2 if call == "cuMemAlloc_v2" else 1, code)
            try:
                with load(StandIn()) as runner:
                    use(runner)
            except EngineError as error:
                assert words in str(error), (call, error)
                assert ("start the process anew" in str(error)) == (code == 700), (call, error)
                assert ("memory is full" in str(error)) == (code == 2), (call, error)
            else:
                raise AssertionError(f"{call} failed and nobody said so")
            gc.collect()
            CUDA.stand_in_reset()
            assert held() == NOTHING, (call, code, held())


def use(runner: TensorRTRunner) -> None:
    """Every way to run."""
    runner.infer(IMAGES[:1])
    runner.time_on_device(1, 1)
    runner.submit_from_device(IMAGES.ctypes.data, 2, runner._device.stream)
    runner.collect()


def faults_while_closing() -> None:
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)  # PyCUDA prints what it cannot free
    for call in FREEING.split():
        runner = load(StandIn())
        use(runner)
        CUDA.stand_in_fail(call.encode(), 1, 999)
        runner.close()
        assert CUDA.stand_in_depth() == 0, call
    os.dup2(terminal, 2)
    with load(StandIn()) as runner:
        use(runner)
    # One of each, which the driver would not free, and nothing else.
    assert held() == NOTHING.replace(" 0", " 1"), held()
    atexit.unregister(nothing_is_left)


def a_capture_that_fails() -> None:
    def refuse() -> None:
        raise EngineError("no")

    device = CudaDevice()
    with device:
        try:
            device.capture(refuse)
        except EngineError:
            device.synchronize()  # the stream has left capture mode
    device.close()
    assert held() == NOTHING, held()


def threads() -> None:
    gpu, failures = StandIn(), []
    runner = load(gpu)
    CUDA.stand_in_slow(300)
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
    CUDA.stand_in_slow(0)
    assert not failures, failures
    assert len(beats) > 10, "the GIL was held while waiting for the GPU"
    closer = threading.Thread(target=runner.close)
    closer.start()
    closer.join()
    assert held() == NOTHING, held()


def a_held_buffer() -> None:
    runner = load(StandIn())
    buffer = runner.input_buffer()
    runner.close()
    buffer[:] = 7
    assert int(buffer.sum()) == 7 * buffer.size
    assert held() == NOTHING.replace("contexts 0", "contexts 1").replace("page-locked 0", "page-locked 1"), held()
    view = buffer[:1]
    del buffer
    assert int(view.sum()) == 7 * view.size
    del view
    assert held() == NOTHING, held()


def forgotten_at_the_end() -> None:
    runner = load(StandIn())
    runner.infer(IMAGES[:1])
    KEPT.append(runner)


def nothing_is_left() -> None:
    if held() != NOTHING:
        print(held(), file=sys.stderr)


KEPT: list[TensorRTRunner] = []

if __name__ == "__main__":
    # Last of all, after the runners that are open are closed.
    atexit.unregister(runner_module._close_what_is_open)
    atexit.register(nothing_is_left)
    atexit.register(runner_module._close_what_is_open)
    globals()[sys.argv[1]]()
