"""Recognizers of a long run: a round, and its failures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fer_edge import Expression, Recognizer
from fer_edge.errors import EngineError
from tests.endurance import recognizers
from tests.endurance.recognizers import Recognizers
from tests.endurance.tally import Tally
from tests.tiny import tiny_bundle


@pytest.fixture(autouse=True)
def _short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"THREADS": 1, "OPENS": 2, "CLOSES": 1}.items():
        monkeypatch.setattr(recognizers, name, value)


def make(folder: Path, engine: str) -> Recognizers:
    return Recognizers(tiny_bundle(folder / "tiny.fer"), engine, folder, 0, Tally(), 0.2)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_round_has_no_failure(engine: str, tmp_path: Path) -> None:
    part = make(tmp_path, engine)
    part.round()
    assert part.tally.frames > 3 and not part.tally.failures


def test_wrong_result_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part, recognize = make(tmp_path, "onnxruntime"), Recognizer.recognize

    def recognize_wrongly(self: Recognizer, *arguments: Any) -> Expression:
        result = recognize(self, *arguments)
        return Expression(result.label, result.score, {label: 1 - score for label, score in result.scores.items()})

    monkeypatch.setattr(Recognizer, "recognize", recognize_wrongly)
    part.reopen()
    assert dict(part.tally.failures) == {"a result of a new recognizer differs from that of the first": 2}


def test_error_of_another_library_is_a_failure() -> None:
    tally = Tally()
    with tally.record_errors("a box"):
        raise EngineError("refused")
    with tally.record_errors("a box"):
        raise IndexError("3")
    assert (tally.frames, tally.refused) == (2, 1)
    assert dict(tally.failures) == {"a box raised IndexError: 3": 1}
