"""A clock that advances only when a test advances it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat

MS = 1_000_000  # nanoseconds


class FakeClock:
    def __init__(self) -> None:
        self.time = 0

    def now(self) -> int:
        self.time += 1000  # a reading takes 1 us, so that a spinning loop ends
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += int(seconds * 1e9)


class Service:
    """Queries with chosen durations in milliseconds; the last duration repeats."""

    def __init__(self, clock: FakeClock, *milliseconds: float, stages: int = 1) -> None:
        self.clock = clock
        self.durations: Iterator[float] = _repeat_last(milliseconds)
        self.stages = stages
        self.starts: list[int] = []

    def __call__(self) -> tuple[int, ...]:
        started = self.clock.time
        self.starts.append(started)
        self.clock.time += int(next(self.durations) * MS)
        ended = self.clock.time
        return (started, *(started + (ended - started) * part // self.stages for part in range(1, self.stages + 1)))


def _repeat_last(values: Iterable[float]) -> Iterator[float]:
    last = 0.0
    for last in values:
        yield last
    yield from repeat(last)
