"""Progress of long work: the interface that library functions report to, and a silent default."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]  # receives the number of items just finished


class Progress(Protocol):
    """Display of progress, such as a bar on the command line or in a notebook."""

    def __call__(self, title: str, total: int) -> AbstractContextManager[Advance]:
        """Start a step.

        Args:
            title: Name of the step, "comparing".
            total: Number of items of the step; 0 if it is unknown.

        Returns:
            Context manager of the step; its value is a function to call with the number of items just finished.
        """


def ignore(count: int) -> None:
    """Ignore finished items."""


@contextmanager
def silent(title: str, total: int) -> Iterator[Advance]:
    """Ignore the progress of a step."""
    yield ignore
