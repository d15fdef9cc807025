"""The benchmark of the outputs of `fer-edge live --to`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from benchmarks.live_outputs import CONTENDERS, Contender, main, rows_of, table_of, update_of
from tests.result_document import check_document


def test_frames_are_sent_and_measured(tmp_path: Path) -> None:
    contender = Contender("jsonl", "{folder}/out.jsonl")
    contender.measure(tmp_path, 2)
    documents = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for document in documents:
        check_document(document)
    assert [document["frame"] for document in documents] == [0, 1] and len(contender.sends) == 2
    assert [update_of(number).people[0].track_id for number in (0, 29, 30, 60)] == [1, 1, 2, 3]
    assert [cell != "" for cell in table_of([*rows_of(contender, 0)]).rows[0]] == [
        *(True, True, True, False, False, True, True)
    ]


@pytest.mark.slow  # starts a process for each receiver
def test_every_output_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--rounds", "1", "--frames", "9", "--csv", str(tmp_path / "x.csv")])
    with (tmp_path / "x.csv").open(newline="") as file:
        figures = {(row["setting"], row["figure"]): float(row["value"]) for row in csv.DictReader(file)}
    names = [name for name, *_ in CONTENDERS[1:]]
    assert {name for name, _ in figures} == {*names} and "range" in capsys.readouterr().out
    for name in ("osc, VRChat", "osc, VMC", "ws", "http, /events", "webhook"):
        assert 0 < figures[name, "latency p50"] < 10_000
