"""Multi-stream: several recognizers, each in a thread of its own, as an app with several cameras has them.

All streams begin together and stop together, and one window of time counts for all of them: a query counts if it
begins and ends in it. So no stream is counted while another rests, and the rate can neither pass what the machine
gives nor streams over mean latency. Queries that an edge of the window cuts through are lost, at most one a stream at
each, so a rate of few queries is a little low.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer_edge.benchmark.scenarios.checks import check_positive
from fer_edge.benchmark.scenarios.single_stream import Stamps
from fer_edge.benchmark.statistics import Distribution, distribution_from_samples, find_warm_up
from fer_edge.benchmark.workload import Clock, Query, clock, no_garbage_collection

FEWEST = 5


@dataclass(frozen=True)
class MultiStream:
    """So many streams at once."""

    streams: int
    threads: int | None  # of each stream; None: the engine's default
    images_per_second: float  # all streams together
    slowest_stream: float  # its rate over the mean of all
    latency: Distribution  # of all streams' queries
    steady: bool = True  # False: a stream changed its speed later than a warm-up ends, so none is cut


class _Streams:
    """Threads that wait for each other, run, and stop together."""

    def __init__(self, queries: Sequence[Query], seconds: float, now: Clock) -> None:
        self.queries = queries
        self.seconds = seconds
        self.now = now
        self.gate = threading.Barrier(len(queries), action=self._begin)
        self.deadline = 0
        self.stamps: list[list[tuple[int, ...]]] = [[] for _ in queries]
        self.failures: list[BaseException] = []

    def run(self) -> list[Stamps]:
        """What each stream took, in order; raises what the first stream that failed raised."""
        workers = [threading.Thread(target=self._serve, args=(stream,)) for stream in range(len(self.queries))]
        with no_garbage_collection():
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        for failure in self.failures:
            if not isinstance(failure, threading.BrokenBarrierError):
                raise failure
        return [np.array(found) for found in self.stamps]

    def _begin(self) -> None:
        self.deadline = self.now() + int(self.seconds * 1e9)

    def _serve(self, stream: int) -> None:
        query, stamps = self.queries[stream], self.stamps[stream]
        try:
            query()
            self.gate.wait()
            while self._goes_on(stamps):
                stamps.append(query())
        except BaseException as error:  # a thread's own traceback would go to stderr and the figure would be wrong
            self.failures.append(error)
            self.gate.abort()

    def _goes_on(self, stamps: list[tuple[int, ...]]) -> bool:
        """Until the deadline, and until each stream has its fewest queries: none rests while another counts."""
        if self.failures:
            return False
        return not stamps or stamps[-1][-1] < self.deadline or min(map(len, self.stamps)) < FEWEST


def run_streams(
    queries: Sequence[Query], seconds: float, *, batch: int = 1, threads: int | None = None, now: Clock = clock
) -> MultiStream:
    """Run one query in each thread, again and again: once to open it, then all together until one deadline.

    Args:
        queries: One for each stream; they share nothing.
        seconds: How long, warm-up included; longer where a stream has fewer than five queries by then.
        batch: Images that a query takes.
        threads: What a stream's engine was given, for the record.
        now: The clock that `queries` use.

    Raises:
        ConfigError: The seconds are not above 0, or too many to count.
    """
    check_positive("the number of seconds", seconds)
    return summarise_streams(_Streams(queries, seconds, now).run(), batch, threads)


def summarise_streams(stamps: Sequence[Stamps], batch: int = 1, threads: int | None = None) -> MultiStream:
    """Rate and latency in the window that all streams share, without the warm-up.

    The window opens when the last stream is warm and closes when the first one stops. Queries are summarised in the
    order of their ends: streams share the machine's good and bad moments, and one stream after the other they would
    seem to be independent.

    Args:
        stamps: Of each stream, at least one query; streams were let go at once.
        batch: Images that a query takes.
        threads: Of each stream, for the record.
    """
    closed = min(int(found[-1, -1]) for found in stamps)  # from then on the others have more of the machine
    shared = [found[found[:, -1] <= closed] for found in stamps]
    opened, steady = _opening(shared)
    kept = [found[found[:, 0] >= opened] for found in shared]
    counts = [len(found) for found in kept]
    spans = np.concatenate([found[:, [0, -1]] for found in kept])
    begins, ends = spans[np.argsort(spans[:, 1], kind="stable")].T
    return MultiStream(
        streams=len(stamps),
        threads=threads,
        images_per_second=batch * sum(counts) / ((closed - opened) / 1e9),
        slowest_stream=min(counts) * len(counts) / sum(counts),
        latency=distribution_from_samples(ends - begins),
        steady=steady,
    )


def _opening(stamps: Sequence[Stamps]) -> tuple[int, bool]:
    """When the last stream's warm-up has ended, and whether all are steady; if not, no warm-up is left out."""
    begin = min(int(found[0, 0]) for found in stamps if len(found))  # streams were let go at once
    found_in = [find_warm_up(found[:, -1] - found[:, 0]) for found in stamps]
    if not all(warm_up.steady for warm_up in found_in):
        return begin, False
    cuts = [(found, warm_up.length) for found, warm_up in zip(stamps, found_in, strict=True)]
    return max([begin, *(int(found[length - 1, -1]) for found, length in cuts if length)]), True
