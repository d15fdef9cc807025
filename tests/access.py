"""Ways in which a system refuses a file, for tests. They work for root too, whom permissions do not stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

TOO_LONG = "a" * 300  # longer than any file system's names


@contextmanager
def no_more_files() -> Iterator[None]:
    """A process that may open no other file."""
    resource = pytest.importorskip("resource", reason="this system does not limit open files")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
