"""Batches: latency and throughput of the engine alone at several batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fer_edge.benchmark.formatting import PERCENTILE_COLUMNS, percentile_cells
from fer_edge.benchmark.scenarios.single_stream import run_queries
from fer_edge.benchmark.statistics import Distribution, distribution_from_samples, warm_up_length
from fer_edge.benchmark.workload import Query, Workload, clock
from fer_edge.crop import crop_and_resize
from fer_edge.engines.base import Runner
from fer_edge.results import Table

SIZES = (1, 2, 4, 8, 16, 32)
MIN_QUERIES = 20


@dataclass(frozen=True)
class BatchResult:
    """Result of one batch size."""

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
    """Time every batch size up to the runner's largest.

    Args:
        runner: Engine to time.
        workload: Frame and face box.
        seconds: Minimum duration of all sizes together.
        sizes: Batch sizes.
        progress: Callback that receives the finished share, 0 to 1.
    """
    supported = [size for size in sizes if size <= runner.max_batch]
    results = []
    for done, size in enumerate(supported):
        progress(done / len(supported))
        query = inference(runner, workload, size)
        query()  # OpenVINO compiles for dynamic batches at the first batch of more than one image
        stamps = run_queries(query, MIN_QUERIES, seconds / len(supported))
        results.append(summarise_batch(size, stamps[:, -1] - stamps[:, 0]))
    return results


def inference(runner: Runner, workload: Workload, batch: int) -> Query:
    """Return a query that runs the engine alone on a batch of the same face."""
    images = runner.input_buffer()[:batch]  # as Recognizer does; the runner would copy images from other memory
    images[:] = crop_and_resize(workload.frame, workload.box)

    def query() -> tuple[int, ...]:
        started = clock()
        runner.infer(images)
        return started, clock()

    return query


def summarise_batch(batch: int, durations: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> BatchResult:
    """Return latency and throughput without the warm-up.

    Args:
        batch: Number of images of each query.
        durations: Nanoseconds of each query, shape (N,).
    """
    measured = durations[warm_up_length(durations) :]
    rate = batch * len(measured) / (float(measured.sum()) / 1e9)
    return BatchResult(batch, distribution_from_samples(measured), rate)


def tables(results: Sequence[BatchResult]) -> list[Table]:
    """Return latency and throughput by batch size."""
    rows = tuple(
        (result.batch, *percentile_cells(result.latency), f"{result.images_per_second:.0f}") for result in results
    )
    return [Table("batches, engine only", ("batch", *PERCENTILE_COLUMNS, "images/s"), rows)]
