"""Where caches are kept."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fer_edge.engines.tensorrt.caches import default_folder
from fer_edge.errors import EngineError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other folders")


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_a_user_without_a_home_may_choose_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setenv("FER_EDGE_CACHE", "here")
    assert default_folder() == Path("here")
    monkeypatch.delenv("FER_EDGE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "fer-edge"
    monkeypatch.delenv("XDG_CACHE_HOME")
    with pytest.raises(EngineError, match=r"there is no home folder .*; set FER_EDGE_CACHE to a folder of yours"):
        default_folder()


@pytest.mark.parametrize("value", ["", ".", "caches"])
def test_a_folder_that_is_not_absolute_is_as_none(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FER_EDGE_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert default_folder() == tmp_path / ".cache" / "fer-edge"
