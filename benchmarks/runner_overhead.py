"""Measure the Python overhead of the TensorRT runner per frame, with a driver that does nothing.

    python benchmarks/runner_overhead.py

Prints median and 99th percentile in microseconds: of an `execute_async_v3` that returns at once, and of `infer` with
one image, in the input buffer and copied, with and without CUDA graphs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.idle_double import idle_runner

CALLS = 20_000


def microseconds(call: Callable[[], Any]) -> str:
    """Return the median and 99th percentile of many calls."""
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
    images = np.zeros((1, 112, 112, 3), np.uint8)
    print(f"{'':32}  median     p99   microseconds")
    for graphs in (True, False):
        with idle_runner(4, graphs=graphs) as runner:
            context = next(iter(runner._contexts.values())).context
            print(f"{'execute_async_v3 alone':32} {microseconds(lambda context=context: context.execute_async_v3(1))}")  # type: ignore[misc]
            buffer = runner.input_buffer()[:1]
            kind = "graph" if graphs else "no graph"
            print(f"{f'infer, in place, {kind}':32} {microseconds(lambda run=runner, batch=buffer: run.infer(batch))}")  # type: ignore[misc]
            print(f"{f'infer, copied, {kind}':32} {microseconds(lambda run=runner: run.infer(images))}")  # type: ignore[misc]


if __name__ == "__main__":
    main()
