"""Files of onnxruntime-web for the page for browsers: hashes, version, and a machine without npm."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module `fetch_onnxruntime_web`."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("fetch_onnxruntime_web")


def test_files_have_the_expected_hash_and_version(script: ModuleType, site_files: dict[str, bytes]) -> None:
    assert not script.fetch()  # nothing to do
    version = script.PACKAGE.rpartition("@")[2]
    assert json.loads(site_files["site.json"])["runtime"] == f"onnxruntime-web {version}"
    lock = json.loads((ROOT / "web" / "package-lock.json").read_text())  # of the npm package's tests
    assert lock["packages"]["node_modules/onnxruntime-web"]["version"] == version


def test_missing_npm_is_named(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(RuntimeError, match=r"npm is missing; install Node\.js"):
        script.fetch(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
