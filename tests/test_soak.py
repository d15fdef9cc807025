"""The soak script: short runs, and what it calls a failure."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from fer_edge import Expression, Recognizer
from fer_edge.errors import EngineError
from tests.tiny import tiny_bundle

SCRIPT = Path(__file__).parents[1] / "scripts" / "soak.py"
QUICK = ("--minutes", "0.001", "--seconds", "0.2", "--opens", "2", "--closes", "0", "--sample", "0.1", "--threads", "1")


@pytest.fixture(scope="module")
def soak() -> Any:
    """The script as a module."""
    spec = spec_from_file_location("soak", SCRIPT)
    assert spec is not None and spec.loader is not None
    sys.modules["soak"] = module = module_from_spec(spec)  # where its dataclasses look for their names
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_short_soak_writes_its_figures(
    soak: Any, engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "soak.json"
    bundle = tiny_bundle(tmp_path / "tiny.fer")
    assert soak.main([*QUICK, "--engine", engine, "--model", str(bundle), "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    (figures,) = report["engines"]
    assert (figures["engine"], figures["wrong"], figures["opens"], figures["rounds"]) == (engine, 0, 4, 1)
    assert figures["compared"] >= 2 and figures["failures"] == {}
    assert {"s", "rss_mb", "files", "threads"} <= set(figures["samples"][-1])
    assert f"{engine}: calls" in capsys.readouterr().out


def test_a_wrong_answer_fails_the_soak(soak: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recognize = Recognizer.recognize
    calls = 0

    def wrong_once_known(self: Recognizer, *arguments: Any) -> Expression:
        nonlocal calls
        calls += 1
        answer = recognize(self, *arguments)
        if calls <= 4 * soak.KNOWN:
            return answer
        return Expression(answer.label, answer.score, {label: 1 - score for label, score in answer.scores.items()})

    monkeypatch.setattr(Recognizer, "recognize", wrong_once_known)
    out = tmp_path / "soak.json"
    bundle = tiny_bundle(tmp_path / "tiny.fer")
    assert soak.main([*QUICK, "--engine", "onnxruntime", "--model", str(bundle), "--json", str(out)]) == 1
    (figures,) = json.loads(out.read_text())["engines"]
    assert figures["wrong"] > 0
    assert "a recognizer that was just opened gave another answer" in figures["failures"]


def test_errors_of_other_libraries_fail_the_soak(soak: Any) -> None:
    tally = soak.Tally("openvino")
    with tally.guarded("a box"):
        raise EngineError("refused")
    with tally.guarded("a box"):
        raise IndexError("3")
    assert (tally.calls, tally.refused) == (2, 1)
    assert dict(tally.failures) == {"a box raised IndexError: 3": 1}


@pytest.mark.parametrize(
    ("memory", "failures"),
    [
        ([100, 130, 180, 140], []),  # what comes down again is no leak
        ([100], []),
        ([100, 160, 170, 180], ["rss_mb grew by 70 since the first of 4 rounds; at most 48 is allowed"]),
    ],
)
def test_what_never_comes_down_again_is_a_leak(soak: Any, memory: list[int], failures: list[str]) -> None:
    tally = soak.Tally("openvino")
    tally.samples = [{"at": "round", "rss_mb": value, "files": 6, "threads": 7} for value in memory]
    tally.samples.insert(1, {"at": "", "rss_mb": 900, "files": 60, "threads": 70})
    soak.check_growth(tally, Namespace(growth=48.0, handles=4))
    assert list(tally.failures) == failures
