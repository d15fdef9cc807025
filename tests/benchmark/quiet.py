"""Points of a scaling as a quiet machine gives them, where what this one does meanwhile is not what is tested."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fer_edge.benchmark import tune
from fer_edge.benchmark.scenarios.scaling import ScalingPoint, measure_point


def on_a_quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is measured again be steady, with queries enough for an upper bound of its p99."""

    def measured(*arguments: Any) -> ScalingPoint:
        found = measure_point(*arguments)
        p99 = found.latency.p99
        return replace(found, steady=True, latency=replace(found.latency, p99=replace(p99, high=p99.value)))

    monkeypatch.setattr(tune, "measure_point", measured)
    monkeypatch.setattr(tune, "BUSY_SHARE", 1000.0)
