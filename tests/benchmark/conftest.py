"""One benchmark of all scenarios, shared by several tests, and a counter of hashed members."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from fer_edge import _archive
from fer_edge.benchmark.registry import SCENARIOS
from fer_edge.benchmark.report import BenchReport
from fer_edge.benchmark.run import run_scenarios
from fer_edge.benchmark.scenario import Plan, Stamps
from fer_edge.bundle import Bundle
from fer_edge.engines.base import RunOptions
from fer_edge.engines.openvino import profiler
from tests.benchmark.progress_recorder import ProgressRecorder
from tests.tiny import tiny_bundle

PLAN = Plan(tuple(SCENARIOS), queries=30, seconds=0.05, minutes=0.005, rates=(200.0,), streams=(1, 2), cold_starts=1)


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[BenchReport, dict[str, Stamps]]:
    """Every scenario on a tiny real model. Files whose tests use it are one group, so it is measured once per run."""
    progress = ProgressRecorder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiler, "SIZE", 64)
        patch.setattr(profiler, "MAP", 7)
        patch.setattr(profiler, "COPIED", 1 << 16)
        path = tiny_bundle(tmp_path_factory.mktemp("bench") / "a.fer", max_batch=2)
        report, stamps = run_scenarios(Bundle.open(path), PLAN, options=RunOptions(1), progress=progress)
    assert set(progress.done.values()) == {100} and set(progress.done) == set(SCENARIOS) - {"on-device"}
    assert stamps["single-stream"].shape[1] == 4
    return report, stamps


@pytest.fixture
def report(measured: tuple[BenchReport, dict[str, Stamps]]) -> BenchReport:
    return measured[0]


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often each content is hashed while a bundle is checked."""
    counts: Counter[str] = Counter()

    class Sha256:
        def __init__(self) -> None:
            self.digest = hashlib.sha256()

        def update(self, data: bytes) -> None:
            self.digest.update(data)

        def hexdigest(self) -> str:
            counts[self.digest.hexdigest()] += 1
            return self.digest.hexdigest()

    class Hashlib:
        sha256 = Sha256

    monkeypatch.setattr(_archive, "hashlib", Hashlib)
    return counts
