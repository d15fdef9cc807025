"""The stress test script: short runs and its failures."""

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
    """Import the script as a module."""
    spec = spec_from_file_location("soak", SCRIPT)
    assert spec is not None and spec.loader is not None
    sys.modules["soak"] = module = module_from_spec(spec)  # its dataclasses look up their annotations here
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_short_run_writes_a_report(soak: Any, engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "soak.json"
    bundle = tiny_bundle(tmp_path / "tiny.fer")
    assert soak.main([*QUICK, "--engine", engine, "--bundle", str(bundle), "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    (engine_report,) = report["engines"]
    assert (engine_report["engine"], engine_report["wrong"], engine_report["opens"], engine_report["rounds"]) == (
        engine,
        0,
        4,
        1,
    )
    assert engine_report["compared"] >= 2 and engine_report["failures"] == {}
    assert {"s", "rss_mb", "files", "threads"} <= set(engine_report["samples"][-1])
    assert f"{engine}: calls" in capsys.readouterr().out


def test_wrong_result_is_a_failure(soak: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recognize = Recognizer.recognize
    calls = 0

    def recognize_wrongly(self: Recognizer, *arguments: Any) -> Expression:
        nonlocal calls
        calls += 1
        result = recognize(self, *arguments)
        if calls <= 4 * soak.REFERENCE_FRAMES:
            return result
        return Expression(result.label, result.score, {label: 1 - score for label, score in result.scores.items()})

    monkeypatch.setattr(Recognizer, "recognize", recognize_wrongly)
    out = tmp_path / "soak.json"
    bundle = tiny_bundle(tmp_path / "tiny.fer")
    assert soak.main([*QUICK, "--engine", "onnxruntime", "--bundle", str(bundle), "--json", str(out)]) == 1
    (engine_report,) = json.loads(out.read_text())["engines"]
    assert engine_report["wrong"] > 0
    assert "a result of a new recognizer differs from that of the first" in engine_report["failures"]


def test_error_of_another_library_is_a_failure(soak: Any) -> None:
    tally = soak.Tally("openvino")
    with tally.record_errors("a box"):
        raise EngineError("refused")
    with tally.record_errors("a box"):
        raise IndexError("3")
    assert (tally.calls, tally.refused) == (2, 1)
    assert dict(tally.failures) == {"a box raised IndexError: 3": 1}


@pytest.mark.parametrize(
    ("memory", "failures"),
    [
        ([100, 130, 180, 140], []),  # memory that shrinks again is not a leak
        ([100], []),
        ([100, 160, 170, 180], ["rss_mb grew by 70 since the first of 4 rounds; the limit is 48"]),
    ],
)
def test_growth_that_never_shrinks_is_a_failure(soak: Any, memory: list[int], failures: list[str]) -> None:
    tally = soak.Tally("openvino")
    tally.samples = [{"at": "round", "rss_mb": value, "files": 6, "threads": 7} for value in memory]
    tally.samples.insert(1, {"at": "", "rss_mb": 900, "files": 60, "threads": 70})
    soak.check_growth(tally, Namespace(growth=48.0, handles=4))
    assert list(tally.failures) == failures
