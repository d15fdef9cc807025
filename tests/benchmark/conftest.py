"""One benchmark that several tests look at."""

from __future__ import annotations

import pytest

from fer_edge.benchmark.run import SCENARIOS, BenchReport, BenchTarget, Plan, run_bench
from fer_edge.benchmark.scenarios.single_stream import Stamps
from fer_edge.engines import openvino_profiling
from tests.tiny import tiny_bundle

PLAN = Plan(tuple(SCENARIOS), queries=30, seconds=0.05, minutes=0.005, rates=(200.0,), streams=(1, 2), cold_starts=1)


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[BenchReport, dict[str, Stamps]]:
    """Every scenario on a tiny real model, once a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openvino_profiling, "SIZE", 64)
        patch.setattr(openvino_profiling, "MAP", 7)
        patch.setattr(openvino_profiling, "COPIED", 1 << 16)
        path = tiny_bundle(tmp_path_factory.mktemp("bench") / "a.fer", max_batch=2)
        told: list[tuple[str, float]] = []
        found, stamps = run_bench(BenchTarget(path, threads=1), PLAN, lambda *step: told.append(step))
    assert [name for name, share in told if share == 0.0][: len(SCENARIOS)]
    assert {name for name, share in told if share == 1.0} == set(SCENARIOS) - {"on-device"}
    assert stamps["single-stream"].shape[1] == 4
    return found, stamps


@pytest.fixture
def report(measured: tuple[BenchReport, dict[str, Stamps]]) -> BenchReport:
    return measured[0]
