"""A GPU and its TensorRT whose every call returns at once: what is left is the runner's own."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np

from fer_edge.engines.base import Artifact, RunOptions
from fer_edge.engines.tensorrt.deserialized import LoadedEngine
from fer_edge.engines.tensorrt.device import Bytes
from fer_edge.engines.tensorrt.runner import TensorRTRunner
from tests.bindings_double import Context, api_double, plan
from tests.cuda_double import Gpu
from tests.tiny import tiny_onnx


class IdleDevice:
    """`Device` that does nothing."""

    integrated = False
    stream = done_event = 1

    def __enter__(self) -> IdleDevice:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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

    def _nothing(self, *arguments: Any) -> None:
        pass

    copy_in = copy_out = copy_within = follow = lead = launch = record_done = synchronize = mark = close = _nothing


class IdleContext(Context):
    """Executes nothing."""

    def set_device_memory(self, address: int, size: int) -> None:
        pass

    def execute_async_v3(self, stream: int) -> bool:
        return True


def idle_runner(max_batch: int, *, graphs: bool) -> TensorRTRunner:
    """A runner of the tiny model on all that."""
    model = tiny_onnx()
    artifact, api = Artifact(model, plan(model, max_batch), max_batch), api_double(Gpu(), context=IdleContext)
    return TensorRTRunner(IdleDevice, lambda: LoadedEngine(api, artifact, RunOptions()), max_batch, graphs=graphs)
