"""A scenario that fails, for tests of what is kept and reported then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fer_edge.benchmark.all_scenarios import SCENARIOS
from fer_edge.benchmark.session import Session


def replace_run(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    """Make a scenario raise an error."""

    def fail(session: Session) -> None:
        raise error

    monkeypatch.setitem(SCENARIOS, name, replace(SCENARIOS[name], run=fail))
