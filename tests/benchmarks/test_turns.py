"""Contenders of one process."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks import turns


def test_calls_take_turns_and_are_written_with_ratios(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[str] = []
    work = {name: lambda name=name: calls.append(name) for name in ("one", "two")}
    turns.run(work, [("two", "one"), ("two", "three")], 3, {"threads": 2}, tmp_path / "new" / "x.csv")
    assert calls.count("one") == calls.count("two") == 4 * (5 + turns.TURN)  # a turn to warm up, then three
    with (tmp_path / "new" / "x.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["scenario"], row["setting"]) for row in rows} == {
        ("compare", "one"), ("compare", "two"), ("pairs", "two to one"),
    }  # fmt: skip
    assert all(row["threads"] == "2" and row["rounds"] == "3" and row["date"] for row in rows)
    (pair,) = [row for row in rows if row["scenario"] == "pairs"]
    assert float(pair["value"]) > 0
    printed = capsys.readouterr().out
    assert "one: p50 " in printed and "two to one: ratio of p50 " in printed
