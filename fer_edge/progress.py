"""Progress of long work: the interface that library functions report to, and a silent default."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """Display of progress, such as a bar on the command line or in a notebook."""

    def __call__(self, title: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Start a step.

        Args:
            title: Name of the step, "comparing".
            total: Number of items of the step; 0 if it is unknown.

        Returns:
            Context manager of the step; its value is a function to call with the number of items just finished.
        """


@contextmanager
def silent(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Ignore the progress of a step."""
    yield lambda count: None
