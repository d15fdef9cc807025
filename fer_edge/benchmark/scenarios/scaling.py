"""Scaling: every combination of threads, streams and batch, to see what this machine is best used with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from fer_edge.benchmark.scenarios.batches import SIZES, inference
from fer_edge.benchmark.scenarios.checks import check_positive
from fer_edge.benchmark.scenarios.multi_stream import run_streams
from fer_edge.benchmark.statistics import Distribution
from fer_edge.benchmark.workload import Workload
from fer_edge.recognizer import Recognizer

SHORTEST = 0.1  # seconds of a point


@dataclass(frozen=True)
class ScalingPoint:
    """One combination."""

    threads: int  # of one inference
    streams: int  # runners at once
    batch: int
    images_per_second: float  # all streams together
    latency: Distribution  # of a batch
    steady: bool = True  # False: a stream changed its speed in the middle of the run


def run_scaling(
    opened: Callable[[int], Recognizer],
    workload: Workload,
    seconds: float,
    threads: Sequence[int],
    streams: Sequence[int],
    *,
    batches: Sequence[int] = SIZES,
    progress: Callable[[float], None] = lambda share: None,
) -> list[ScalingPoint]:
    """Measure all combinations, the engine alone.

    Args:
        opened: Loads a recognizer for so many threads.
        workload: The face.
        seconds: How long all of it may take, without loading; each has its share, but no less than a tenth of a second.
        threads: Of one inference.
        streams: Runners at once.
        batches: Faces that run together; those that are too large for the engine are left out.
        progress: Told the share that is done.

    Raises:
        ConfigError: The seconds are not above 0, or too many to count.
    """
    check_positive("the number of seconds", seconds)
    each = max(SHORTEST, seconds / (len(threads) * len(streams) * len(batches)))
    found: list[ScalingPoint] = []
    for done, (thread_count, stream_count) in enumerate((t, s) for t in threads for s in streams):
        progress(done / (len(threads) * len(streams)))
        with ExitStack() as stack:
            recognizers = [stack.enter_context(opened(thread_count)) for _ in range(stream_count)]
            taken = [batch for batch in batches if batch <= recognizers[0].runner.max_batch]
            found += [measure_point(recognizers, workload, thread_count, batch, each) for batch in taken]
    return found


def measure_point(
    recognizers: Sequence[Recognizer], workload: Workload, threads: int, batch: int, seconds: float
) -> ScalingPoint:
    """One combination, on recognizers that are loaded."""
    queries = [inference(recognizer.runner, workload, batch) for recognizer in recognizers]
    run = run_streams(queries, seconds, batch=batch, threads=threads)
    return ScalingPoint(threads, len(recognizers), batch, run.images_per_second, run.latency, run.steady)
