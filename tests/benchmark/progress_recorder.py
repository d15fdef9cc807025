"""Progress that records its calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class ProgressRecorder:
    """Finished items and total by title of the step."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}
        self.totals: dict[str, int] = {}

    @contextmanager
    def __call__(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        self.done[title], self.totals[title] = 0, total

        def advance(count: int) -> None:
            self.done[title] += count

        yield advance
