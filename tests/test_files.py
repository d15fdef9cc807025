"""Files appear whole, and only in the place of files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fer_edge._files import write_atomically
from fer_edge.errors import FerEdgeError


def test_links_stay_and_what_they_point_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    file, link, dangling = tmp_path / "there" / "file", tmp_path / "link", tmp_path / "dangling"
    file.write_bytes(b"old")
    link.symlink_to(file)
    dangling.symlink_to(tmp_path / "there" / "new")
    write_atomically(link, b"one")
    write_atomically(dangling, b"two")
    assert link.is_symlink() and dangling.is_symlink()
    assert (file.read_bytes(), (tmp_path / "there" / "new").read_bytes()) == (b"one", b"two")
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["dangling", "file", "link", "new", "there"]


def test_only_files_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    names = ["folder", "loop"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "to_pipe").symlink_to(tmp_path / "pipe")
        names += ["pipe", "to_pipe"]
    before = sorted(tmp_path.iterdir())
    for name in names:
        with pytest.raises(FerEdgeError, match=f"cannot write .*{name}: it is no regular file; name a file"):
            write_atomically(tmp_path / name, b"x")
    assert sorted(tmp_path.iterdir()) == before
    assert not (tmp_path / "folder").is_file() and (tmp_path / "loop").is_symlink()


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for below in ("a", "b/c"):
        with pytest.raises(FerEdgeError, match=r"cannot write .*: .*file is no folder; nothing was changed"):
            write_atomically(tmp_path / "file" / below, b"x")
