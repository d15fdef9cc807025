"""One benchmark of all scenarios, shared by several tests."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from fer_edge.benchmark.all_scenarios import SCENARIOS
from fer_edge.benchmark.bench_report import BenchReport
from fer_edge.benchmark.run import run_scenarios
from fer_edge.benchmark.scenarios.single_stream import Stamps
from fer_edge.benchmark.session import BenchTarget, Plan
from fer_edge.engines import openvino_profiling
from tests.benchmark.progress_recorder import ProgressRecorder
from tests.made_once import made_once
from tests.tiny import tiny_bundle

PLAN = Plan(tuple(SCENARIOS), queries=30, seconds=0.05, minutes=0.005, rates=(200.0,), streams=(1, 2), cold_starts=1)


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[BenchReport, dict[str, Stamps]]:
    """Every scenario on a tiny real model, measured once per run."""
    folder = made_once(tmp_path_factory, "bench", _measure)
    report, stamps = pickle.loads((folder / "measured.pickle").read_bytes())
    return report, stamps


def _measure(folder: Path) -> None:
    progress = ProgressRecorder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openvino_profiling, "SIZE", 64)
        patch.setattr(openvino_profiling, "MAP", 7)
        patch.setattr(openvino_profiling, "COPIED", 1 << 16)
        path = tiny_bundle(folder / "a.fer", max_batch=2)
        report, stamps = run_scenarios(BenchTarget(path, threads=1), PLAN, progress)
    assert set(progress.done.values()) == {100} and set(progress.done) == set(SCENARIOS) - {"on-device"}
    assert stamps["single-stream"].shape[1] == 4
    (folder / "measured.pickle").write_bytes(pickle.dumps((report, stamps)))


@pytest.fixture
def report(measured: tuple[BenchReport, dict[str, Stamps]]) -> BenchReport:
    return measured[0]
