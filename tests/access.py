"""Failures of the operating system to open a file, for tests. They affect root too, unlike permissions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

TOO_LONG = "a" * 300  # longer than the limit of every file system


@contextmanager
def no_more_files() -> Iterator[None]:
    """Forbid this process to open another file."""
    resource = pytest.importorskip("resource", reason="this system does not limit open files")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
