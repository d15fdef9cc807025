"""Folder of the caches."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fer_edge.engines.tensorrt.caches import default_folder
from fer_edge.errors import EngineError, EngineUnavailableError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the folders of Linux")


def test_user_without_home_folder_can_configure_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    def no_user(number: int) -> pwd.struct_passwd:
        raise KeyError(number)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_user)
    monkeypatch.setenv("FER_EDGE_CACHE", "here")
    assert default_folder() == Path("here")
    monkeypatch.delenv("FER_EDGE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "fer-edge"
    monkeypatch.delenv("XDG_CACHE_HOME")
    with pytest.raises(EngineError, match=r"there is no home folder .*; set FER_EDGE_CACHE to a private folder"):
        default_folder()


@pytest.mark.parametrize("value", [None, "", ".", "caches"])
def test_relative_xdg_folder_is_ignored(value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FER_EDGE_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if value is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert default_folder() == tmp_path / ".cache" / "fer-edge"
    assert not list(tmp_path.iterdir()), "the folder is created only with the first cache"


def test_missing_platformdirs_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FER_EDGE_CACHE", raising=False)
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    with pytest.raises(EngineUnavailableError, match=r'platformdirs .*pip install "fer-edge\[cuda\]"'):
        default_folder()
    monkeypatch.setenv("FER_EDGE_CACHE", "here")
    assert default_folder() == Path("here")
