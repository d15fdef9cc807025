"""The benchmark of the outputs of `fer-edge live --to`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import live_outputs
from benchmarks.live_outputs import Contender, Document, main, update_of
from tests.result_document import check_document


def test_frames_are_sent_at_their_rate_with_one_change_a_second() -> None:
    contender = Contender("document", Document())
    contender.measure(2)
    assert len(contender.sends) == 2 and min(contender.sends) > 0 and len(contender.cpu) == 1
    check_document(json.loads(update_of(7).json))
    labels = [update_of(number).people[0].expression.label for number in range(61)]
    assert [labels[0], labels[29], labels[30], labels[60]] == ["neutral", "neutral", "happiness", "surprise"]


@pytest.mark.slow  # starts three receivers
def test_table_has_all_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["live_outputs", "--rounds", "1", "--frames", "3", "--csv", str(tmp_path / "x.csv")]
    )
    monkeypatch.setattr(live_outputs, "RATE", 100)
    main()
    rows = (tmp_path / "x.csv").read_text().splitlines()
    assert len(rows) == 1 + 3 * 11 and "osc, VRChat" in capsys.readouterr().out
