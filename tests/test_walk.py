"""Listing of the images in a folder, with reasons for the paths left out."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fer_edge.errors import ImageError
from fer_edge.walk import SUFFIXES, LeftOut, count_reasons, find_images, list_folders, notes, walk_folder
from tests.access import TOO_LONG, no_more_files

PACKAGE = Path(__file__).parents[1] / "fer_edge"
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="links, pipes and such names need a POSIX system")


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path, "PNG")
    return path


def reasons(root: Path) -> dict[str, str]:
    """Return the reasons of the paths left out, by path below the folder."""
    return {entry.path.relative_to(root).as_posix(): entry.reason for entry in walk_folder(root).left_out}


def names(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in find_images(root).paths]


def test_images_below_a_folder_are_listed(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no images below .*; expected files with suffix \.avif, \.bmp"):
        find_images(tmp_path)
    paths = [picture(tmp_path / "b" / "x.JPG"), picture(tmp_path / "c.png")]
    (tmp_path / "note.txt").touch()
    assert find_images(tmp_path).paths == tuple(paths)
    assert find_images(tmp_path).left_out == ()
    assert find_images(tmp_path / "c.png").paths == (tmp_path / "c.png",)
    with pytest.raises(ImageError, match="no file or folder at"):
        find_images(tmp_path / "none")


def test_operating_system_errors_are_reported(tmp_path: Path) -> None:
    with no_more_files(), pytest.raises(ImageError, match=r"cannot read .*: Too many open files"):
        find_images(tmp_path)
    with pytest.raises(ImageError, match=r"cannot read .*: File name too long"):
        find_images(tmp_path / TOO_LONG)
    with pytest.raises(ImageError, match=r"cannot read 'a\\x00b': .*null"):
        find_images(Path("a\0b"))


def test_suffixes_are_matched_in_any_case(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        picture(tmp_path / f"lower{suffix}")
        picture(tmp_path / f"UPPER{suffix.upper()}")
    assert len(find_images(tmp_path).paths) == 2 * len(SUFFIXES)
    assert {".jpe", ".jfif", ".gif", ".avif", ".mpo", ".dib"} <= SUFFIXES


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.HEIC", "HEIC image (convert to JPEG or PNG)"),
        ("a.jp2", "JPEG 2000 image (convert to JPEG or PNG)"),
        ("a.svg", "drawing (convert to JPEG or PNG)"),
        ("a.NEF", "camera raw image (convert to JPEG or PNG)"),
        ("a.psd", "document (convert to JPEG or PNG)"),
        ("a.ico", "image of an unsupported format (convert to JPEG or PNG)"),
        ("a.mp4", "video (use fer-edge analyse, or extract frames as JPEG or PNG)"),
        ("a.zip", "archive (unpack it)"),
        (".a.png", "hidden file"),
        ("._a.jpg", "hidden file"),
        (".jpg", "hidden file"),
        ("no_ending", "PNG image without an image ending"),
        ("a.jpg.part", "PNG image without an image ending"),
        ("a.png.", "PNG image without an image ending"),
    ],
)
def test_images_left_out_have_a_reason(name: str, reason: str, tmp_path: Path) -> None:
    picture(tmp_path / "taken.png")
    picture(tmp_path / name)
    assert names(tmp_path) == ["taken.png"]
    assert reasons(tmp_path) == {name: reason}


@pytest.mark.parametrize("name", ["README", "labels.csv", ".DS_Store", ".gitkeep", "Thumbs.db", "model.npy", "a.lst"])
def test_other_files_are_ignored(name: str, tmp_path: Path) -> None:
    picture(tmp_path / "taken.png")
    (tmp_path / name).write_bytes(b"some text")
    assert reasons(tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (".ipynb_checkpoints", "hidden folder"),
        (".git", "hidden folder"),
        ("@eaDir", "thumbnail folder"),
        (".thumbnails", "thumbnail folder"),
        ("Thumbs", "thumbnail folder"),
        ("__MACOSX", "system folder"),
        ("$RECYCLE.BIN", "system folder"),
        ("#recycle", "system folder"),
        ("lost+found", "system folder"),
    ],
)
def test_system_folders_are_left_out_unless_they_are_the_root(name: str, reason: str, tmp_path: Path) -> None:
    picture(tmp_path / "happy" / "a.png")
    picture(tmp_path / "happy" / name / "a.png")
    assert names(tmp_path) == ["happy/a.png"]
    assert reasons(tmp_path) == {f"happy/{name}": reason}
    assert names(tmp_path / "happy" / name) == ["a.png"]
    assert list_folders(tmp_path / "happy") == ()


@POSIX
def test_links_are_followed_and_broken_links_left_out(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    picture(root / "a.png")
    picture(elsewhere / "deep" / "b.png")
    (root / "sub").symlink_to(elsewhere)
    (root / "file.png").symlink_to(elsewhere / "deep" / "b.png")
    (root / "gone.jpg").symlink_to("/nowhere/gone.jpg")
    (root / "gone").symlink_to("/nowhere/folder")
    (root / "notes.txt").symlink_to("/nowhere/notes.txt")
    assert names(root) == ["a.png", "file.png", "sub/deep/b.png"]
    assert reasons(root) == {"gone.jpg": "broken link", "gone": "broken link"}
    (tmp_path / "named").symlink_to(root)
    assert names(tmp_path / "named") == names(root)
    with pytest.raises(ImageError, match=r"gone\.jpg is a broken link: /nowhere/gone\.jpg does not exist"):
        find_images(root / "gone.jpg")


@POSIX
def test_folders_are_entered_once_and_loops_left_out(tmp_path: Path) -> None:
    picture(tmp_path / "z_real" / "a.png")
    (tmp_path / "a_link").symlink_to(tmp_path / "z_real")
    (tmp_path / "z_real" / "up").symlink_to(tmp_path)
    (tmp_path / "z_real" / "root").symlink_to("/")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    listing = walk_folder(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in listing.paths] == ["z_real/a.png"]
    assert reasons(tmp_path) == {
        "a_link": "folder reached twice through a link",
        "self": "link loop",
        "z_real/root": "link loop",
        "z_real/up": "link loop",
    }
    assert listing.folders == (tmp_path / "z_real",)


@POSIX
def test_pipes_and_empty_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty.png").touch()
    assert names(tmp_path) == ["empty.png"]  # reported when it is decoded
    assert reasons(tmp_path) == {"pipe.png": "not a regular file"}


def test_unreadable_folder_is_left_out_unreadable_root_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a" / "a.png")
    picture(tmp_path / "b" / "b.png")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert names(tmp_path) == ["a/a.png"]
    assert reasons(tmp_path) == {"b": "unreadable folder (Permission denied)"}
    assert walk_folder(tmp_path).folders == (tmp_path / "a", tmp_path / "b")
    with pytest.raises(ImageError, match=r"cannot read .*b: Permission denied"):
        find_images(tmp_path / "b")


@POSIX
def test_unusual_names_are_sorted(tmp_path: Path) -> None:
    unusual = [
        "a\nb.png",
        "c d.png",
        "x" * 251 + ".png",
        os.fsdecode(b"\xff\xfe.png"),
        unicodedata.normalize("NFD", "ä.png"),
    ]
    for name in unusual:
        try:
            picture(tmp_path / "d" / name)
        except OSError:  # file system that allows only Unicode names
            continue
    (tmp_path / "B.png").write_bytes(b"")
    paths = find_images(tmp_path).paths
    assert len(paths) == 1 + len(list((tmp_path / "d").iterdir()))
    assert list(paths) == sorted(paths) == list(find_images(tmp_path).paths)


def test_error_lists_the_reasons(tmp_path: Path) -> None:
    for index in range(8):
        (tmp_path / f"{index}.heic").touch()
    (tmp_path / ".hidden").mkdir()
    with pytest.raises(
        ImageError,
        match=r"no images below .*; left out 1: hidden folder, such as .*\.hidden; "
        r"left out 8: HEIC image \(convert to JPEG or PNG\), such as .*0\.heic$",
    ):
        find_images(tmp_path)


def test_notes_have_one_line_per_reason() -> None:
    entries = [
        LeftOut(Path("a"), "broken link"),
        LeftOut(Path("b"), "hidden folder"),
        LeftOut(Path("c"), "broken link"),
    ]
    assert notes(entries) == ["left out 2: broken link, such as a", "left out 1: hidden folder, such as b"]
    assert count_reasons(entries) == {"broken link": 2, "hidden folder": 1}
    assert notes(iter(entries)) == notes(entries) and notes([]) == []


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", ".c", "@eaDir"]), min_size=1, max_size=4))
def test_image_is_either_listed_or_left_out(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    root = tmp_path_factory.mktemp("walk")
    path = root.joinpath(*parts) / "x.png"
    path.parent.mkdir(parents=True)
    path.touch()
    listing = walk_folder(root)
    hidden = any(part in (".c", "@eaDir") for part in parts)
    assert (listing.paths == (path,), len(listing.left_out) == 1) == (not hidden, hidden)


def test_ten_thousand_files_are_listed(tmp_path: Path) -> None:
    for index in range(10_000):
        os.close(os.open(tmp_path / f"{index:05}.jpg", os.O_CREAT | os.O_WRONLY))
    paths = find_images(tmp_path).paths
    assert len(paths) == 10_000 and paths[0].name == "00000.jpg" and paths[-1].name == "09999.jpg"


def test_other_modules_do_not_walk_folders() -> None:
    walks = re.compile(r"rglob|\bos\.walk|scandir|\.iterdir\(|glob\(")
    readers = ("data", "evaluation", "calibration", "training", "cli")
    others = {PACKAGE / "training" / "files.py"}  # lists temporary files of a run, not images
    files = [path for room in readers for path in (PACKAGE / room).rglob("*.py") if path not in others]
    lines = [line for path in files for line in path.read_text().splitlines() if walks.search(line)]
    assert [line for line in lines if "resources.files" not in line] == []
