"""Multi-stream: several recognizers, each in a thread of its own, like an app with several cameras.

All streams start and stop together, and one time window counts for all of them: a query counts if it starts and ends
inside the window. No stream is measured while another one is idle, so the rate cannot exceed the number of streams
divided by the mean latency. The window's edges lose at most two queries of each stream, so a rate from few queries is
slightly low.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from fer_edge.benchmark.drawing import Figure, Plot, draw_rate_and_latency
from fer_edge.benchmark.formatting import RATE_COLUMNS, rate_cells
from fer_edge.benchmark.scenario import Scenario, Session, Stamps
from fer_edge.benchmark.scenarios.single_stream import UNSTEADY
from fer_edge.benchmark.statistics import Distribution, distribution_from_samples, find_warm_up
from fer_edge.benchmark.workload import Clock, Query, clock, no_garbage_collection, recognition
from fer_edge.hardware.cpu import cores
from fer_edge.results import Quantity, Table

MIN_QUERIES = 5


@dataclass(frozen=True)
class MultiStream:
    """Result of one number of streams."""

    streams: Annotated[int, Quantity(key="{}")]
    threads: int | None  # threads of each stream; None: the engine's default
    images_per_second: Annotated[float, Quantity("rate", "images/s")]  # of all streams together
    slowest_stream: Annotated[float, Quantity("slowest stream to mean")]  # ratio of their rates
    latency: Distribution  # of the queries of all streams
    steady: bool = True  # False: a stream's speed changed after the longest allowed warm-up; no query was excluded


class _Streams:
    """Threads that start together, repeat their queries and stop together."""

    def __init__(self, queries: Sequence[Query], seconds: float, now: Clock) -> None:
        self.queries = queries
        self.seconds = seconds
        self.now = now
        self.gate = threading.Barrier(len(queries), action=self._begin)
        self.deadline = 0
        self.stamps: list[list[tuple[int, ...]]] = [[] for _ in queries]
        self.failures: list[BaseException] = []

    def run(self) -> list[Stamps]:
        """Run all threads; return the stamps of each stream, or raise the error of the first stream that failed."""
        workers = [threading.Thread(target=self._serve, args=(stream,)) for stream in range(len(self.queries))]
        with no_garbage_collection():
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        for failure in self.failures:
            if not isinstance(failure, threading.BrokenBarrierError):
                raise failure
        return [np.array(stamps) for stamps in self.stamps]

    def _begin(self) -> None:
        self.deadline = self.now() + int(self.seconds * 1e9)

    def _serve(self, stream: int) -> None:
        """Run one stream."""
        query, stamps = self.queries[stream], self.stamps[stream]
        try:
            query()
            self.gate.wait()
            while self._should_continue(stamps):
                stamps.append(query())
        except BaseException as error:  # a thread would print a traceback, and the result would be wrong
            self.failures.append(error)
            self.gate.abort()

    def _should_continue(self, stamps: list[tuple[int, ...]]) -> bool:
        """Return whether the deadline is ahead or any stream has fewer than its minimum of queries."""
        if self.failures:
            return False
        return not stamps or stamps[-1][-1] < self.deadline or min(map(len, self.stamps)) < MIN_QUERIES


def run_streams(
    queries: Sequence[Query], seconds: float, *, batch: int = 1, threads: int | None = None, now: Clock = clock
) -> MultiStream:
    """Repeat one query in each thread: once alone, then all streams together until one deadline.

    Args:
        queries: Query of each stream; streams share no state.
        seconds: Duration with warm-up; it is exceeded if a stream has fewer than five queries by then.
        batch: Number of images of a query.
        threads: Engine threads of each stream, for the result.
        now: Clock that `queries` use.
    """
    return summarise_streams(_Streams(queries, seconds, now).run(), batch, threads)


def summarise_streams(stamps: Sequence[Stamps], batch: int = 1, threads: int | None = None) -> MultiStream:
    """Return rate and latency in the time window that all streams share, without warm-up.

    The window starts when the last stream's warm-up ends, and ends when the first stream stops. Queries are summarised
    in the order of their ends: streams are slow and fast at the same moments, and in the order of streams their samples
    would look independent.

    Args:
        stamps: Stamps of each stream with at least one query; all streams started at once.
        batch: Number of images of a query.
        threads: Engine threads of each stream, for the result.
    """
    end = min(int(stream[-1, -1]) for stream in stamps)  # after the first stream stops, the others run faster
    before_end = [stream[stream[:, -1] <= end] for stream in stamps]
    start, steady = _window_start(before_end)
    measured = [stream[stream[:, 0] >= start] for stream in before_end]
    counts = [len(stream) for stream in measured]
    spans = np.concatenate([stream[:, [0, -1]] for stream in measured])
    begins, ends = spans[np.argsort(spans[:, 1], kind="stable")].T
    return MultiStream(
        streams=len(stamps),
        threads=threads,
        images_per_second=batch * sum(counts) / ((end - start) / 1e9),
        slowest_stream=min(counts) * len(counts) / sum(counts),
        latency=distribution_from_samples(ends - begins),
        steady=steady,
    )


def _window_start(stamps: Sequence[Stamps]) -> tuple[int, bool]:
    """Return the end of the last warm-up, and whether all streams are steady; if not, no warm-up is excluded."""
    begin = min(int(stream[0, 0]) for stream in stamps if len(stream))
    warm_ups = [find_warm_up(stream[:, -1] - stream[:, 0]) for stream in stamps]
    if not all(warm_up.steady for warm_up in warm_ups):
        return begin, False
    cuts = [(stream, warm_up.length) for stream, warm_up in zip(stamps, warm_ups, strict=True)]
    return max([begin, *(int(stream[length - 1, -1]) for stream, length in cuts if length)]), True


class MultiStreamScenario(Scenario[list[MultiStream]]):
    """Several recognizers at once."""

    title = "Several recognizers"
    about = "All at once, each in a thread of its own."
    order = 50
    crowded = True
    settings = frozenset({"seconds"})
    several = True

    def run(self, session: Session) -> list[MultiStream]:
        results, plan = [], session.plan
        for index, streams in enumerate(plan.streams):
            session.progress(index / len(plan.streams))
            threads = session.options.threads or max(1, cores() // streams)
            with ExitStack() as stack:
                recognizers = [stack.enter_context(session.open(threads)) for _ in range(streams)]
                queries = [recognition(recognizer, plan.workload) for recognizer in recognizers]
                results.append(run_streams(queries, plan.seconds, threads=threads))
        return results

    def tables(self, result: list[MultiStream]) -> list[Table]:
        rows = tuple(
            (run.streams, run.threads or "default", *rate_cells(run.latency, run.images_per_second)) for run in result
        )
        return [Table("several recognizers at once", ("streams", "threads each", *RATE_COLUMNS), rows)]

    def notes(self, result: list[MultiStream]) -> list[str]:
        unsteady = ", ".join(str(run.streams) for run in result if not run.steady)
        return [f"{UNSTEADY}: {unsteady} streams"] if unsteady else []

    def plots(self, result: list[MultiStream], stamps: Stamps | None) -> list[Plot]:
        return [Plot(lambda: draw_streams(result), "Rate and latency over the number of streams.")]


def draw_streams(results: Sequence[MultiStream]) -> Figure:
    """Draw rate and latency over the number of streams."""
    counts, rates = [result.streams for result in results], [result.images_per_second for result in results]
    figure = draw_rate_and_latency("streams", counts, rates, [result.latency for result in results])
    for axes in figure.axes:
        axes.set_xticks(counts)
    return figure


SCENARIO = MultiStreamScenario()
