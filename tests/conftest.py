"""Fixtures that several packages of tests use."""

from __future__ import annotations

import ctypes
import gc
import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fer_edge.engines.quiet import import_package
from fer_edge.engines.registry import get_engine
from tests.browser import find_chromium, running_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Tests import the packages of engines directly; this import turns their telemetry and logging off first.
for name in ("onnxruntime", "openvino"):
    for package in get_engine(name).packages:
        with suppress(ImportError):
            import_package(package)

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="module", autouse=True)
def _return_free_memory() -> Iterator[None]:
    """Return freed memory to the operating system after each module of tests; glibc keeps gigabytes of it otherwise."""
    yield
    gc.collect()
    with suppress(OSError, AttributeError):  # other C libraries have no malloc_trim
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder with reference material beside the checkout; tests skip without it, except in CI."""
    if not SHARED.is_dir():
        if os.environ.get("FER_EDGE_REQUIRE_SHARED"):
            pytest.fail(f"{SHARED} is missing, and FER_EDGE_REQUIRE_SHARED forbids skipping")
        pytest.skip(f"needs {SHARED.name}/ beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def ferplus(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return FERPlus's training and validation split, unpacked once per run."""
    root = tmp_path_factory.mktemp("ferplus")
    with tarfile.open(shared / "data" / "ferplus-train-valid.tar") as archive:
        archive.extractall(root, filter="data")
    return root


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return a headless Chromium; tests skip without it, except in CI."""
    executable = find_chromium()
    if executable is None:
        if os.environ.get("FER_EDGE_REQUIRE_SHARED"):
            pytest.fail("Chromium is missing, and FER_EDGE_REQUIRE_SHARED forbids skipping: see .ci/run")
        pytest.skip("needs Chromium or Chrome; on Debian or Ubuntu: apt-get install chromium")
    with running_browser(executable) as running:
        yield running
