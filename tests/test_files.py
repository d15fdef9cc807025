"""Atomic writing of files, and checks of output paths."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fer_edge._files import atomic_path, check_output, write_atomically, write_together
from fer_edge.errors import ConfigError, FerEdgeError


def test_targets_of_links_are_replaced(tmp_path: Path) -> None:
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


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    names = ["folder", "loop"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "to_pipe").symlink_to(tmp_path / "pipe")
        names += ["pipe", "to_pipe"]
    before = sorted(tmp_path.iterdir())
    for name in names:
        with pytest.raises(FerEdgeError, match=f"cannot write .*{name}: it is not a regular file; use the path"):
            write_atomically(tmp_path / name, b"x")
    assert sorted(tmp_path.iterdir()) == before
    assert not (tmp_path / "folder").is_file() and (tmp_path / "loop").is_symlink()


def test_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for below in ("a", "b/c"):
        with pytest.raises(FerEdgeError, match=r"cannot write .*: .*file is not a folder; nothing was changed"):
            write_atomically(tmp_path / "file" / below, b"x")


def test_permissions_follow_the_umask_or_the_replaced_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    umask = os.umask(0o027)
    try:
        with monkeypatch.context() as patched:
            # The umask belongs to the process, and reading it changes it while other threads create files.
            patched.setattr(os, "umask", lambda mask: pytest.fail("the umask was changed"))
            write_atomically(tmp_path / "new", b"x")
            (tmp_path / "private").touch(0o600)
            (tmp_path / "shared").touch()
            (tmp_path / "shared").chmod(0o664)
            (tmp_path / "read only").touch(0o400)
            for name in ("private", "shared", "read only"):
                write_atomically(tmp_path / name, b"x")
    finally:
        os.umask(umask)
    modes = {entry.name: oct(entry.stat().st_mode & 0o777) for entry in tmp_path.iterdir()}
    assert modes == {"new": "0o640", "private": "0o600", "shared": "0o664", "read only": "0o400"}


def test_private_file_is_private_from_the_first_byte(tmp_path: Path) -> None:
    (tmp_path / "private").touch(0o600)
    with atomic_path(tmp_path / "private") as temporary:
        temporary.write_bytes(b"secret")
        assert temporary.stat().st_mode & 0o077 == 0


def test_flushed_file_is_open_for_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl", reason="only Unix tells how a file was opened; Windows refuses to flush")
    flushed = []

    def flush(descriptor: int) -> None:
        flushed.append(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE)

    monkeypatch.setattr(os, "fsync", flush)
    write_atomically(tmp_path / "file", b"x")
    assert flushed == [os.O_RDWR]


def test_cleanup_error_does_not_hide_the_first_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "it is open elsewhere")

    monkeypatch.setattr(Path, "unlink", refused)
    expected = "cannot write .*file: No space left on device; nothing was changed"
    with pytest.raises(FerEdgeError, match=expected), atomic_path(tmp_path / "file"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not (tmp_path / "file").exists()


def test_error_at_the_close_of_the_new_file_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close = os.close

    def close_with_error(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "close", close_with_error)
    with pytest.raises(FerEdgeError, match=r"cannot write .*file: Input/output error; nothing was changed"):
        write_atomically(tmp_path / "file", b"x")
    assert list(tmp_path.iterdir()) == []


def test_output_that_is_an_input_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.fer").write_bytes(b"a")
    (tmp_path / "link.fer").symlink_to(tmp_path / "a.fer")
    check_output(tmp_path / "b.fer", tmp_path / "a.fer", None)
    for out in (tmp_path / "a.fer", tmp_path / "link.fer", tmp_path / "x" / ".." / "a.fer"):
        with pytest.raises(ConfigError, match="is also an input; name another file to write"):
            check_output(out, tmp_path / "a.fer")


def test_files_are_written_together_or_not_at_all(tmp_path: Path) -> None:
    first, second, folder = tmp_path / "a.json", tmp_path / "new" / "b.json", tmp_path / "folder"
    folder.mkdir()
    first.write_bytes(b"old")
    with pytest.raises(FerEdgeError, match=r"cannot write .*folder: it is not a regular file"):
        write_together({first: b"1", second: b"2", folder: b"3"})
    assert first.read_bytes() == b"old" and not second.exists()
    write_together({first: b"1", second: b"2"})
    assert (first.read_bytes(), second.read_bytes()) == (b"1", b"2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "folder", "new"]


def test_full_disk_leaves_none_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = 0

    def full_at_the_second(number: int) -> None:
        nonlocal written
        written += 1
        if written == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_at_the_second)
    with pytest.raises(FerEdgeError, match=r"cannot write .*b: No space left on device; nothing was changed"):
        write_together({tmp_path / "a": b"1", tmp_path / "b": b"2"})
    assert list(tmp_path.iterdir()) == []
