"""A benchmark's temporary folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from fer_edge.benchmark.temporary import temporary_folder
from fer_edge.errors import FerEdgeError


def test_it_goes_with_the_block() -> None:
    with temporary_folder() as folder:
        (folder / "file").write_text("x")
    assert not folder.exists()


def test_nowhere_to_make_it_is_an_error_with_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with (
        pytest.raises(
            FerEdgeError, match=r"^no temporary folder can be made: .*; set TMPDIR to a folder that can be w"
        ),
        temporary_folder(),
    ):
        pass
