"""Tables, JSON, text, notes and progress."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from fer_edge.cli.output import (
    err_console,
    print_error,
    print_fields,
    print_json,
    print_line,
    print_result,
    print_table,
    progress,
)
from fer_edge.results import Result, Table

CLI = Path(__file__).parents[2] / "fer_edge" / "cli"


class Speed(Result):
    """Result with one table and one note."""

    def __init__(self) -> None:
        self.engine, self.ms = "openvino", math.nan

    def tables(self) -> list[Table]:
        return [Table("speed", ("engine", "ms"), ((self.engine, self.ms),))]

    def notes(self) -> list[str]:
        return ["a note\x1b[2K"]


def test_brackets_are_text_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(Table("", ("what",), (('pip install "fer-edge[train]"',),)))
    assert 'pip install "fer-edge[train]"' in capsys.readouterr().out


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(Table("a\x1b[2K", ("image",), (("x\x1b[2Ky",),)))
    print_line("line\x1b[2K\n")
    print_fields([("name\x07", "value\x1b[2K")])
    print_error("no file at x\x1b]0;hi\a\nerror: forged")
    out, err = capsys.readouterr()
    assert r"x\x1b[2Ky" in out and r"line\x1b[2K\n" in out and r"value\x1b[2K" in out
    assert "\x1b" not in out and "\x07" not in out
    assert err == r"error: no file at x\x1b]0;hi\x07\nerror: forged" + "\n"


def test_long_lines_are_not_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/data/" + "a folder/" * 40
    print_line(f"wrote {path}")
    print_fields([("file", path)])
    print_error(f"no file at {path}")
    out, err = capsys.readouterr()
    assert out == f"wrote {path}\n  file  {path}\n" and err == f"error: no file at {path}\n"


def test_result_is_printed_as_tables_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_result(Speed())
    out = capsys.readouterr().out
    assert out.startswith("speed\n") and "openvino" in out and out.endswith("a note\\x1b[2K\n")
    print_result(Speed(), as_json=True)
    assert json.loads(capsys.readouterr().out) == {"engine": "openvino", "ms": None}


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"loss": math.nan, "rows": [(1.5, -math.inf)], "file": Path("a")})
    assert json.loads(capsys.readouterr().out) == {"loss": None, "rows": [[1.5, None]], "file": "a"}


def test_progress_without_a_terminal_is_an_occasional_line(
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
    with progress("analysing", 0) as advance:  # a stream has no length
        for _ in range(2):
            advance(40)
    assert capsys.readouterr().err.splitlines() == ["analysing: 80"]


def test_closed_stderr_is_ignored(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr", None)
    print_error("nobody reads this")
    assert capsys.readouterr().out == ""


def test_no_color_turns_colours_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert not err_console().no_color
    monkeypatch.setenv("NO_COLOR", "1")
    assert err_console().no_color


@pytest.mark.parametrize("path", sorted(CLI.glob("*.py")), ids=lambda path: path.name)
def test_text_is_printed_by_one_function(path: Path) -> None:
    """A Rich console or a bare print would wrap lines, or pass control characters on."""
    text = path.read_text()
    assert not re.search(r"console\(\)\.print\(|typer\.(?:echo|secho)\((?!f\"fer-edge )", text)
    if path.name not in ("output.py", "consoles.py", "reference.py"):
        assert not re.search(r"(?<![\w.])print\(", re.sub(r"# print\(.*", "", text))
