"""Comparison of functions in one process."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks import in_process


@pytest.mark.slow
def test_calls_alternate_and_are_written_with_ratios(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[str] = []
    work = {name: lambda name=name: calls.append(name) for name in ("a", "b")}
    in_process.run(work, [("b", "a"), ("b", "c")], 3, {"threads": 2}, tmp_path / "new" / "x.csv")
    assert calls.count("a") == calls.count("b") == 4 * (5 + in_process.QUERIES_PER_TURN)  # a warm-up turn, then three
    with (tmp_path / "new" / "x.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["scenario"], row["setting"]) for row in rows} == {
        ("compare", "a"),
        ("compare", "b"),
        ("pairs", "b to a"),
    }
    assert all(row["threads"] == "2" and row["rounds"] == "3" and row["date"] for row in rows)
    (pair,) = [row for row in rows if row["scenario"] == "pairs"]
    assert float(pair["value"]) > 0
    printed = capsys.readouterr().out
    assert "a: p50 " in printed and "b to a: ratio of p50 " in printed
