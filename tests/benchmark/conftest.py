"""One benchmark of all scenarios, shared by several tests."""

from __future__ import annotations

import pytest

from fer_edge.benchmark.all_scenarios import SCENARIOS
from fer_edge.benchmark.bench_report import BenchReport
from fer_edge.benchmark.run import run_scenarios
from fer_edge.benchmark.scenarios.single_stream import Stamps
from fer_edge.benchmark.session import BenchTarget, Plan
from fer_edge.engines.openvino import profiler
from tests.benchmark.progress_recorder import ProgressRecorder
from tests.tiny import tiny_bundle

PLAN = Plan(tuple(SCENARIOS), queries=30, seconds=0.05, minutes=0.005, rates=(200.0,), streams=(1, 2), cold_starts=1)


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[BenchReport, dict[str, Stamps]]:
    """Every scenario on a tiny real model, once per session."""
    progress = ProgressRecorder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiler, "SIZE", 64)
        patch.setattr(profiler, "MAP", 7)
        patch.setattr(profiler, "COPIED", 1 << 16)
        path = tiny_bundle(tmp_path_factory.mktemp("bench") / "a.fer", max_batch=2)
        report, stamps = run_scenarios(BenchTarget(path, threads=1), PLAN, progress)
    assert set(progress.done.values()) == {100} and set(progress.done) == set(SCENARIOS) - {"on-device"}
    assert stamps["single-stream"].shape[1] == 4
    return report, stamps


@pytest.fixture
def report(measured: tuple[BenchReport, dict[str, Stamps]]) -> BenchReport:
    return measured[0]
