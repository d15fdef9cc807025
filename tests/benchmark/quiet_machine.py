"""Scaling points of a quiet machine, for tests whose result must not depend on this machine's load."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fer_edge.benchmark import tune
from fer_edge.benchmark.scenarios.scaling import ScalingPoint, measure_point


def pretend_quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make confirming measurements steady, with an upper bound of p99, and accept any load."""

    def measure(*arguments: Any) -> ScalingPoint:
        point = measure_point(*arguments)
        p99 = point.latency.p99
        return replace(point, steady=True, latency=replace(point.latency, p99=replace(p99, high=p99.value)))

    monkeypatch.setattr(tune, "measure_point", measure)
    monkeypatch.setattr(tune, "BUSY_SHARE", 1000.0)
