"""Folders of images: what is taken, and what is left out and why."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fer_edge.errors import ImageError
from fer_edge.walk import find_images
from tests.access import TOO_LONG, no_more_files


def picture(path: Path) -> Path:
    Image.new("RGB", (4, 4)).save(path)
    return path


def test_find_images(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no images below"):
        find_images(tmp_path)
    (tmp_path / "b").mkdir()
    paths = [picture(tmp_path / "b" / "x.JPG"), picture(tmp_path / "c.png")]
    (tmp_path / "note.txt").touch()
    assert find_images(tmp_path).paths == tuple(paths)
    assert find_images(tmp_path / "c.png").paths == (tmp_path / "c.png",)
    with pytest.raises(ImageError, match="no file or folder at"):
        find_images(tmp_path / "none")


def test_operating_system_errors_are_passed_on(tmp_path: Path) -> None:
    with no_more_files(), pytest.raises(ImageError, match=r"cannot read .*: Too many open files"):
        find_images(tmp_path)
    with pytest.raises(ImageError, match=r"cannot read .*: File name too long"):
        find_images(tmp_path / TOO_LONG)
