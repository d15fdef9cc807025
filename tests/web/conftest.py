"""The page with the shipped bundle, made once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fer_edge.errors import ConfigError
from fer_edge.web import make_site, write_site
from tests.made_once import made_once
from tests.web.host import SUB_PATH


@pytest.fixture(scope="session")
def site_files() -> dict[str, bytes]:
    """Return the files of the page; skip without face networks and onnxruntime-web, except in CI."""
    try:
        return make_site()
    except ConfigError as error:
        if os.environ.get("FER_EDGE_REQUIRE_SHARED"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def web_root(site_files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root of a web host with the page in a folder of it; only for reading."""
    return made_once(tmp_path_factory, "web root", lambda folder: write_site(site_files, folder / SUB_PATH))
