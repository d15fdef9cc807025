"""Batches: what an image costs when several run at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fer_edge.benchmark.scenarios.single_stream import run_queries
from fer_edge.benchmark.statistics import Distribution, distribution_from_samples, warm_up_length
from fer_edge.benchmark.workload import Query, Workload, clock
from fer_edge.crop import crop_and_resize
from fer_edge.engines.base import Runner

SIZES = (1, 2, 4, 8, 16, 32)
FEWEST = 20


@dataclass(frozen=True)
class BatchResult:
    """One batch size."""

    batch: int
    latency: Distribution  # of the whole batch
    images_per_second: float


def run_batches(
    runner: Runner,
    workload: Workload,
    seconds: float,
    *,
    sizes: Sequence[int] = SIZES,
    progress: Callable[[float], None] = lambda share: None,
) -> list[BatchResult]:
    """Time each batch size that the runner takes, for so many seconds in all."""
    taken = [size for size in sizes if size <= runner.max_batch]
    results = []
    for done, size in enumerate(taken):
        progress(done / len(taken))
        query = inference(runner, workload, size)
        query()  # a dynamic batch is compiled when it first comes
        stamps = run_queries(query, FEWEST, seconds / len(taken))
        results.append(summarise_batch(size, stamps[:, -1] - stamps[:, 0]))
    return results


def inference(runner: Runner, workload: Workload, batch: int) -> Query:
    """A query: the engine alone, on a batch of the same face."""
    images = runner.input_buffer()[:batch]  # as the product hands them over: other memory may be copied first
    images[:] = crop_and_resize(workload.frame, workload.box)

    def query() -> tuple[int, ...]:
        started = clock()
        runner.infer(images)
        return started, clock()

    return query


def summarise_batch(batch: int, durations: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> BatchResult:
    """Latency and rate without the warm-up."""
    kept = durations[warm_up_length(durations) :]
    return BatchResult(batch, distribution_from_samples(kept), batch * len(kept) / (float(kept.sum()) / 1e9))
