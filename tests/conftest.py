"""Fixtures that several packages of tests use."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fer_edge.engines.quiet import import_package
from fer_edge.engines.registry import get_engine
from tests.browser import require_chromium, running_browser
from tests.made_once import made_once

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

    from tests.calibration.tiny_ranges import TinyCalibration

# Tests import the packages of engines directly; this import turns their telemetry and logging off first.
for name in ("onnxruntime", "openvino"):
    for package in get_engine(name).packages:
        with suppress(ImportError):
            import_package(package)

SHARED = Path(__file__).parents[2] / "shared"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None]:
    """Import the tests without garbage collection: nearly all objects remain."""
    gc.disable()
    try:
        return (yield)
    finally:
        _collect_and_freeze()
        gc.enable()


def _collect_and_freeze() -> None:
    """Collect garbage, and exclude what remains from later collections: modules, whose search takes half a second."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of a file in one process, or those of each group that it names; files with slow tests first."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    slow = {_group(item) for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: _group(item) not in slow)


def _group(item: pytest.Item) -> str:
    marker = item.get_closest_marker("xdist_group")
    assert marker is not None
    return str(marker.args[0])


@pytest.fixture(scope="session", autouse=True)
def _share_exports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Export each model once per run, except in tests that use `fresh_export`."""
    if "torch" not in sys.modules:  # nothing to export, and a second to import
        yield
        return
    from fer_edge.export import onnx_graph
    from tests.shared_exports import exported_once

    folder = made_once(tmp_path_factory, "exports", lambda folder: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_graph, "_export", exported_once(onnx_graph._export, folder))
        yield


@pytest.fixture
def fresh_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Export with PyTorch each time, in tests of the export itself."""
    from fer_edge.export import onnx_graph

    monkeypatch.setattr(onnx_graph, "_export", onnx_graph._export.__wrapped__)  # type: ignore[attr-defined]


@pytest.fixture(scope="module", autouse=True)
def _return_free_memory() -> Iterator[None]:
    """Return freed memory to the operating system after each module of tests; glibc keeps gigabytes of it otherwise."""
    yield
    _collect_and_freeze()
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

    def unpack(folder: Path) -> None:
        # Six times as fast as Python's tarfile.
        subprocess.run(["tar", "-xf", shared / "data" / "ferplus-train-valid.tar", "-C", folder], check=True)

    return made_once(tmp_path_factory, "ferplus", unpack)


@pytest.fixture(scope="session")
def tiny_calibration(tmp_path_factory: pytest.TempPathFactory) -> TinyCalibration:
    """Return the files of a calibration with a search on the tiny checkpoint, made once per run."""
    from tests.calibration.tiny_ranges import TinyCalibration, write_tiny_calibration

    return TinyCalibration(made_once(tmp_path_factory, "calibration", write_tiny_calibration))


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """Return the driver of browsers, of which a process can have only one."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Return a headless Chromium; tests skip without it, except in CI."""
    with running_browser(playwright, require_chromium()) as running:
        yield running


@pytest.fixture(scope="session")
def site_files() -> dict[str, bytes]:
    """Return the files of the page for browsers; skip without face networks and onnxruntime-web, except in CI."""
    from fer_edge.errors import ConfigError
    from fer_edge.web import make_site

    try:
        return make_site()
    except ConfigError as error:
        if os.environ.get("FER_EDGE_REQUIRE_SHARED"):
            raise
        pytest.skip(str(error))
