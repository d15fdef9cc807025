"""Temporary folder of a benchmark."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from fer_edge.benchmark.temporary import temporary_folder
from fer_edge.errors import FerEdgeError


def test_folder_is_removed_after_the_block() -> None:
    with temporary_folder() as folder:
        (folder / "file").write_text("x")
    assert not folder.exists()


def test_error_names_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    expected = r"^cannot create a temporary folder: .*; set TMPDIR to a writable folder"
    with pytest.raises(FerEdgeError, match=expected), temporary_folder():
        pass
