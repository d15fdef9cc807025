"""Fixtures that more than one room of the tests uses."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fer_edge.engines.quiet import import_package
from tests.browser import find_chromium, running_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Tests import engines' packages themselves: what those do unasked is switched off before.
for package in ("onnxruntime", "openvino"):
    with suppress(ImportError):
        import_package(package)

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference material beside the checkout; a user's clone has none, CI insists on it."""
    if not SHARED.is_dir():
        if os.environ.get("FER_EDGE_REQUIRE_SHARED"):
            pytest.fail(f"{SHARED} is missing, and this run must not skip what needs it")
        pytest.skip(f"needs {SHARED.name}/ beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def ferplus(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FERPlus's train and validation split, unpacked once a run."""
    root = tmp_path_factory.mktemp("ferplus")
    with tarfile.open(shared / "data" / "ferplus-train-valid.tar") as archive:
        archive.extractall(root, filter="data")
    return root


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; a user's machine may have none, CI insists on it."""
    executable = find_chromium()
    if executable is None:
        if os.environ.get("FER_EDGE_REQUIRE_SHARED"):
            pytest.fail("there is no Chromium here, and this run must not skip what needs it: see .ci/run")
        pytest.skip("needs Chromium or Chrome; on Debian or Ubuntu: apt-get install chromium")
    with running_browser(executable) as running:
        yield running
