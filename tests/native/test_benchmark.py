"""Comparison of the C library with the Python package."""

from __future__ import annotations

import sys

import pytest

from tests.native.library import Library


@pytest.mark.slow
def test_c_and_python_are_compared(
    library: Library, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import native

    engine = library.engines[0]
    monkeypatch.setattr(native, "build", lambda folder: None)
    monkeypatch.setattr(native, "Library", lambda path, engines: library)
    monkeypatch.setattr(sys, "argv", ["native.py", "--engine", engine, "--rounds", "3"])
    native.main()
    printed = capsys.readouterr().out
    assert f"{engine}, points, c to {engine}, points, python: ratio of p50 " in printed
    assert "crop, c to crop, python: ratio of p50 " in printed
