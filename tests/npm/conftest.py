"""Node.js with the packages of `web/`, and Python's results for its tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.made_once import made_once
from tests.npm.vectors import face_crops, write_arithmetic, write_vectors

WEB = Path(__file__).parents[2] / "web"


@pytest.fixture(scope="session")
def node() -> str:
    """Return the path of Node.js; tests skip without it or its packages, except in CI."""
    executable = shutil.which("node")
    if executable is not None and (WEB / "node_modules").is_dir():
        return executable
    reason = "needs Node.js 20 or later, and its packages: scripts/test-web"
    if os.environ.get("FER_EDGE_REQUIRE_SHARED"):
        pytest.fail(f"{reason}; FER_EDGE_REQUIRE_SHARED forbids skipping")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def arithmetic(node: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the results that need no network."""
    return made_once(tmp_path_factory, "web-arithmetic", write_arithmetic)


@pytest.fixture(scope="session")
def vectors(node: str, ferplus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of all results."""
    return made_once(tmp_path_factory, "web-vectors", lambda folder: write_vectors(folder, face_crops(ferplus)))
