"""Multi-stream: several recognizers, each in a thread of its own, as an app with several cameras has them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer_edge.bench.scenarios.single_stream import Stamps, run_queries
from fer_edge.bench.statistics import Distribution, distribution_from_samples, warm_up_length
from fer_edge.bench.workload import Query, no_garbage_collection

FEWEST = 5


@dataclass(frozen=True)
class MultiStream:
    """So many streams at once."""

    streams: int
    threads: int | None  # of each stream; None: the engine's default
    images_per_second: float  # all streams together
    slowest_stream: float  # its rate over the mean of all
    latency: Distribution  # of all streams' queries


def run_streams(queries: Sequence[Query], seconds: float, *, batch: int = 1, threads: int | None = None) -> MultiStream:
    """Run one query in each thread, again and again, all beginning together.

    Args:
        queries: One for each stream; they share nothing.
        seconds: How long.
        batch: Images that a query takes.
        threads: What a stream's engine was given, for the record.
    """
    gate = threading.Barrier(len(queries))
    stamps: list[Stamps | None] = [None] * len(queries)
    failures: list[BaseException] = []

    def serve(stream: int, query: Query) -> None:
        try:
            query()
            gate.wait()
            stamps[stream] = run_queries(query, FEWEST, seconds)
        except BaseException as error:  # a thread's own traceback would go to stderr and the figure would be wrong
            failures.append(error)
            gate.abort()

    workers = [threading.Thread(target=serve, args=pair) for pair in enumerate(queries)]
    with no_garbage_collection():
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    for failure in failures:
        if not isinstance(failure, threading.BrokenBarrierError):
            raise failure
    return summarise_streams([found for found in stamps if found is not None], batch, threads)


def summarise_streams(stamps: Sequence[Stamps], batch: int = 1, threads: int | None = None) -> MultiStream:
    """Each stream without its warm-up; rates add up, since all ran for the same time."""
    kept = [found[warm_up_length(found[:, -1] - found[:, 0]) :] for found in stamps]
    rates = [batch * len(found) / (float(found[-1, -1] - found[0, 0]) / 1e9) for found in kept]
    return MultiStream(
        streams=len(stamps),
        threads=threads,
        images_per_second=sum(rates),
        slowest_stream=min(rates) * len(rates) / sum(rates),
        latency=distribution_from_samples(np.concatenate([found[:, -1] - found[:, 0] for found in kept])),
    )
