"""A scenario that fails, for tests of what is kept and reported then."""

from __future__ import annotations

import pytest

from fer_edge.benchmark.registry import SCENARIOS
from fer_edge.benchmark.scenario import Session


def replace_run(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    """Make a scenario raise an error."""

    def fail(session: Session) -> None:
        raise error

    monkeypatch.setattr(SCENARIOS[name], "run", fail)
