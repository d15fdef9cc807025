"""What the TensorRT runner's own Python costs a frame: against a driver that does nothing.

    python benchmarks/runner_overhead.py

Prints microseconds, medians and 99th percentiles: one call of an `execute_async_v3` that returns at once, and `infer`
of one image, in place and copied, with graphs and without.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from fer_edge.engines.base import Artifact, RunOptions
from fer_edge.engines.tensorrt.device import Bytes
from fer_edge.engines.tensorrt.loaded import LoadedEngine
from fer_edge.engines.tensorrt.runner import TensorRTRunner
from tests.bindings_double import Context, api_double, plan
from tests.cuda_double import Gpu
from tests.tiny import tiny_onnx

CALLS = 20_000


class NoDevice:
    """A device whose every call returns at once."""

    integrated = False
    stream = done_event = 1

    def __enter__(self) -> NoDevice:
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


def executes_nothing(context: Context, stream: int) -> bool:
    """`execute_async_v3` of a driver that does nothing."""
    return True


def microseconds(call: Callable[[], Any]) -> str:
    """Median and 99th percentile of many calls."""
    for _ in range(1000):
        call()
    samples = np.zeros(CALLS, np.int64)
    for index in range(CALLS):
        started = time.perf_counter_ns()
        call()
        samples[index] = time.perf_counter_ns() - started
    return f"{np.median(samples) / 1e3:7.1f} {np.percentile(samples, 99) / 1e3:7.1f}"


def main() -> None:
    """Print the table."""
    model = tiny_onnx()
    setattr(Context, "execute_async_v3", executes_nothing)  # noqa: B010  mypy takes no assignment to a method
    setattr(Context, "set_device_memory", lambda *arguments: None)  # noqa: B010
    artifact = Artifact(model, plan(model, 4), 4)
    images = np.zeros((1, 112, 112, 3), np.uint8)
    print(f"{'':32}  median     p99   microseconds")
    for graphs in (True, False):
        api = api_double(Gpu())
        load = lambda api=api: LoadedEngine(api, artifact, RunOptions())  # noqa: E731
        with TensorRTRunner(NoDevice, load, 4, graphs=graphs) as runner:
            context = next(iter(runner._contexts.values())).context
            print(f"{'execute_async_v3 alone':32} {microseconds(lambda context=context: context.execute_async_v3(1))}")  # type: ignore[misc]
            place = runner.input_buffer()[:1]
            kind = "graph" if graphs else "no graph"
            print(f"{f'infer, in place, {kind}':32} {microseconds(lambda run=runner, at=place: run.infer(at))}")  # type: ignore[misc]
            print(f"{f'infer, copied, {kind}':32} {microseconds(lambda run=runner: run.infer(images))}")  # type: ignore[misc]


if __name__ == "__main__":
    main()
