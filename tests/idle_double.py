"""A GPU and an engine whose calls return at once, so that only the runner's own work is measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fer_edge.engines.base import Artifact, RunOptions
from fer_edge.engines.tensorrt.cuda import Bytes
from fer_edge.engines.tensorrt.deserialized import DeserializedEngine
from fer_edge.engines.tensorrt.runner import TensorRTRunner
from tests.bindings_double import Context, api_double, plan
from tests.cuda_double import Gpu
from tests.tiny import tiny_onnx


class IdleDevice:
    """`CudaDevice` that does nothing."""

    integrated = False
    stream = done_event = 1

    def __enter__(self) -> IdleDevice:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def page_locked(self, size: int) -> Bytes:
        return np.zeros(size, np.uint8)

    def mapped_address(self, memory: Bytes) -> int:
        return 0

    def allocate(self, size: int) -> int:
        return 256

    def capture(self, enqueue: Callable[[], None]) -> object:
        return self

    def milliseconds(self, first: int, second: int) -> float:
        return 0.0

    def _do_nothing(self, *arguments: Any) -> None:
        pass

    copy_in = copy_out = copy_within = wait_for = record_to = _do_nothing
    launch = record_done = synchronize = record_event = close = _do_nothing


class IdleContext(Context):
    """Execution context that executes nothing."""

    def set_device_memory(self, address: int, size: int) -> None:
        pass

    def execute_async_v3(self, stream: int) -> bool:
        return True


def idle_runner(max_batch: int, *, graphs: bool) -> TensorRTRunner:
    """Open a runner of the tiny model on an idle device."""
    model = tiny_onnx()
    artifact, api = Artifact(model, plan(model, max_batch), max_batch), api_double(Gpu(), context=IdleContext)
    open_device: Any = IdleDevice
    return TensorRTRunner(
        open_device, lambda: DeserializedEngine(api, artifact, RunOptions()), max_batch, graphs=graphs
    )
