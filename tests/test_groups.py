"""Distribution of the tests over processes."""

from __future__ import annotations

import pytest


def test_tests_of_a_group_run_in_one_process(request: pytest.FixtureRequest) -> None:
    """With another pytest, pytest-xdist may distribute single tests without a warning, and fixtures are made twice."""
    distributed = getattr(request.config.option, "loadgroup", False)
    assert not distributed or request.node.nodeid.endswith("@tests/test_groups.py"), "run scripts/setup"
