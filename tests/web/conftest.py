"""A web host with the page of the shipped bundle, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_edge.web import write_site
from tests.made_once import made_once
from tests.web.host import SUB_PATH


@pytest.fixture(scope="session")
def web_root(site_files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root of a web host with the page in a folder of it; only for reading."""
    return made_once(tmp_path_factory, "web root", lambda folder: write_site(site_files, folder / SUB_PATH))
