"""Tables, JSON, notes and progress."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from fer_edge.cli.output import print_error, print_json, print_table, progress


def test_brackets_are_text_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("", ("what",), [('pip install "fer-edge[train]"',)])
    assert 'pip install "fer-edge[train]"' in capsys.readouterr().out


def test_controls_never_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("", ("image",), [("x\x1b[2Ky",)])
    print_error("no file at x\x1b]0;hi\a\nerror: forged")
    out, err = capsys.readouterr()
    assert r"x\x1b[2Ky" in out
    assert err == r"error: no file at x\x1b]0;hi\x07\nerror: forged" + "\n"


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"loss": math.nan, "rows": [(1.5, -math.inf)], "file": Path("a")})
    assert json.loads(capsys.readouterr().out) == {"loss": None, "rows": [[1.5, None]], "file": "a"}


def test_without_a_terminal_progress_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with progress("evaluating", 200) as advance:
        for _ in range(4):
            advance(40)
    assert capsys.readouterr().err.splitlines() == [
        "evaluating: 80 of 200 (40 %), 1:00 remaining",
        "evaluating: 160 of 200 (80 %), 0:20 remaining",
    ]


def test_a_closed_stderr_takes_no_notes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr", None)
    print_error("nobody reads this")
    assert capsys.readouterr().out == ""
