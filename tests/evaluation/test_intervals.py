"""Confidence intervals against published values, and their invariants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.evaluation.intervals import mean_of_shares, wilson


def test_wilson_matches_published_values() -> None:
    # Newcombe (1998), table I: 81 of 263 and 0 of 20.
    assert (wilson(81 / 263, 263).low, wilson(81 / 263, 263).high) == pytest.approx((25.53, 36.62), abs=0.01)
    assert (wilson(0, 20).low, wilson(0, 20).high) == pytest.approx((0, 16.11), abs=0.01)
    assert str(wilson(0.91, 400)) == "87.8 to 93.4 %"


def test_mean_of_one_share_has_the_wilson_interval() -> None:
    assert mean_of_shares([(0.9, 50)]) == wilson(0.9, 50)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 1000)), min_size=1, max_size=8))
def test_interval_contains_the_mean(shares: list[tuple[float, int]]) -> None:
    interval, mean = mean_of_shares(shares), 100 * sum(share for share, _ in shares) / len(shares)
    assert 0 <= interval.low <= mean + 1e-3 and mean - 1e-3 <= interval.high <= 100
