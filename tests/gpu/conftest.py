"""Fixtures of the tests that need an NVIDIA GPU, and their report; see scripts/verify_gpu.py."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from fer_edge.engines.registry import engine_status, platform_tag
from fer_edge.engines.tensorrt.diagnostics import diagnose, probe_system
from fer_edge.environment import environment

PRODUCTS = ("tensorrt", "tensorrt-rtx")
RESULTS: dict[str, str] = {}
MEASURED: dict[str, Any] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(params=PRODUCTS)
def product(request: pytest.FixtureRequest) -> str:
    """An engine that runs on this machine's GPU."""
    name: str = request.param
    status = engine_status(name)
    if not (status.can_run and status.can_build):
        pytest.skip(f"{name}: {status.reason}")
    return name


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[str, Any], None]:
    """Function that adds a measured value to the report."""
    return lambda name, value: MEASURED.setdefault(request.node.nodeid, {}).update({name: value})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.nodeid.startswith("tests/gpu/") and (report.when == "call" or report.outcome != "passed"):
        RESULTS[report.nodeid] = f"{report.outcome} {report.longrepr or ''}".strip()


def pytest_sessionfinish() -> None:
    """Write the report, the source of `docs/verified-on.md`."""
    path = os.environ.get("FER_EDGE_GPU_REPORT")
    if not path or not RESULTS:
        return
    machine = probe_system()
    report = {
        "platform": platform_tag(),
        "environment": environment(),
        "nvidia": {**asdict(machine), "findings": [asdict(finding) for finding in diagnose(machine)]},
        "engines": [asdict(engine_status(name)) for name in PRODUCTS],
        "results": RESULTS,
        "measured": MEASURED,
    }
    Path(path).write_text(json.dumps(report, indent=1, default=str))
