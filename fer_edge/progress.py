"""Progress of long work: the interface that library functions report to, and the default that shows nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """Starts one step of long work; the command line shows a bar, notebooks may show their own."""

    def __call__(self, title: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Start a step.

        Args:
            title: Name of the step, "comparing".
            total: Number of items of the step.

        Returns:
            Context manager of the step; it gives a function to call with the number of items just finished.
        """


@contextmanager
def silent(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Report no progress."""
    yield lambda count: None
