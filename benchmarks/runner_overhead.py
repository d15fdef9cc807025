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
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.idle_double import idle_runner

CALLS = 20_000


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
    images = np.zeros((1, 112, 112, 3), np.uint8)
    print(f"{'':32}  median     p99   microseconds")
    for graphs in (True, False):
        with idle_runner(4, graphs=graphs) as runner:
            context = next(iter(runner._contexts.values())).context
            print(f"{'execute_async_v3 alone':32} {microseconds(lambda context=context: context.execute_async_v3(1))}")  # type: ignore[misc]
            place = runner.input_buffer()[:1]
            kind = "graph" if graphs else "no graph"
            print(f"{f'infer, in place, {kind}':32} {microseconds(lambda run=runner, at=place: run.infer(at))}")  # type: ignore[misc]
            print(f"{f'infer, copied, {kind}':32} {microseconds(lambda run=runner: run.infer(images))}")  # type: ignore[misc]


if __name__ == "__main__":
    main()
