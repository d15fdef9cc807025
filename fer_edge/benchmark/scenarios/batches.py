"""Batches: latency and throughput of the engine alone at several batch sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from fer_edge.benchmark.drawing import Figure, Plot, draw_rate_and_latency, logarithmic
from fer_edge.benchmark.formatting import RATE_COLUMNS, rate_cells
from fer_edge.benchmark.scenario import Scenario, Session, Stamps
from fer_edge.benchmark.scenarios.single_stream import run_queries
from fer_edge.benchmark.statistics import Distribution, distribution_from_samples, warm_up_length
from fer_edge.benchmark.workload import Query, Workload, clock
from fer_edge.crop import crop_and_resize
from fer_edge.engines.base import Runner
from fer_edge.results import Quantity, Table

SIZES = (1, 2, 4, 8, 16, 32)
MIN_QUERIES = 20


@dataclass(frozen=True)
class BatchResult:
    """Result of one batch size."""

    batch: Annotated[int, Quantity(key="{}")]
    latency: Distribution  # of the whole batch
    images_per_second: Annotated[float, Quantity("rate", "images/s")]


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


class BatchesScenario(Scenario[list[BatchResult]]):
    """Several faces in one inference."""

    title = "Batches"
    about = "Engine only, several faces in one inference."
    order = 20
    quick = True
    settings = frozenset({"seconds"})
    several = True

    def run(self, session: Session) -> list[BatchResult]:
        runner, plan, results = session.recognizer.runner, session.plan, []
        supported = [size for size in SIZES if size <= runner.max_batch]
        for done, size in enumerate(supported):
            session.progress(done / len(supported))
            query = inference(runner, plan.workload, size)
            query()  # OpenVINO compiles for dynamic batches at the first batch of more than one image
            stamps = run_queries(query, MIN_QUERIES, plan.seconds / len(supported))
            results.append(summarise_batch(size, stamps[:, -1] - stamps[:, 0]))
        return results

    def tables(self, result: list[BatchResult]) -> list[Table]:
        rows = tuple((batch.batch, *rate_cells(batch.latency, batch.images_per_second)) for batch in result)
        return [Table("batches, engine only", ("batch", *RATE_COLUMNS), rows)]

    def plots(self, result: list[BatchResult], stamps: Stamps | None) -> list[Plot]:
        return [Plot(lambda: draw_batches(result), "Rate and latency over the batch size.")]

    def tiles(self, result: list[BatchResult]) -> list[tuple[str, str]]:
        best = max(result, key=lambda batch: batch.images_per_second)
        return [(f"images per second, batches of {best.batch}", f"{best.images_per_second:,.0f}")]


def draw_batches(results: Sequence[BatchResult]) -> Figure:
    """Draw rate and latency over the batch size."""
    sizes, rates = [result.batch for result in results], [result.images_per_second for result in results]
    figure = draw_rate_and_latency("batch", sizes, rates, [result.latency for result in results])
    for axes in figure.axes:
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set_xticks([], minor=True)
    logarithmic(figure.axes[1], "y")
    return figure


SCENARIO = BatchesScenario()
