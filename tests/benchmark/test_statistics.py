"""Figures by hand, and what must hold for any samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.benchmark.statistics import (
    BINS,
    distribution_from_samples,
    effective_count,
    find_warm_up,
    longest_warm_up,
    percentile,
    rank_interval,
    ratio_of_percentiles,
    share_estimate,
    trend,
    warm_up_length,
)

MS = 1_000_000  # nanoseconds


def test_ranks_of_the_median_are_those_of_the_sign_test() -> None:
    # Below the median of n samples lie Binomial(n, 1/2). n = 6: P(0) = 1/64 < 0.025 < P(0) + P(1) = 7/64.
    assert rank_interval(6, 0.5) == (1, 6)
    assert rank_interval(5, 0.5) == (None, None)  # 1/32 > 0.025 on either side
    # n = 10: P(at most 1) = 11/1024, P(at most 2) = 56/1024.
    assert rank_interval(10, 0.5) == (2, 9)
    assert rank_interval(10, 0.5, confidence=0.8) == (3, 8)


def test_a_percentile_near_the_end_has_no_upper_bound_until_enough_samples_came() -> None:
    # All of n samples lie below the 99th percentile with 0.99^n, which is 0.025 at n = 367.04.
    assert rank_interval(367, 0.99)[1] is None
    assert rank_interval(368, 0.99)[1] == 368


def _tail(count: int, share: float, ranks: range) -> float:
    return sum(math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in ranks)


@given(st.integers(1, 300), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_each_bound_is_missed_by_one_in_forty_at_most_and_no_closer_bound_would_be(count: int, share: float) -> None:
    low, high = rank_interval(count, share)
    allowed = 0.025 + 1e-9
    if low is not None:
        assert _tail(count, share, range(low)) <= allowed
    assert _tail(count, share, range((low or 0) + 1)) > allowed - 2e-9
    if high is not None:
        assert _tail(count, share, range(high, count + 1)) <= allowed
    assert _tail(count, share, range((high or count + 1) - 1, count + 1)) > allowed - 2e-9


def test_percentiles_are_samples() -> None:
    found = distribution_from_samples(np.random.default_rng(0).permutation(np.arange(1, 101)) * MS)
    assert (found.p50.value, found.p90.value, found.p95.value, found.p99.value) == (50, 90, 95, 99)
    assert (found.count, found.mean, found.min, found.max) == (100, 50.5, 1, 100)
    assert sum(found.histogram.counts) == 100 and len(found.histogram.edges) == BINS + 1
    assert percentile(np.array([3.0, 1.0, 2.0]), 0.5).value == 2


@given(st.lists(st.integers(1, 10**10), min_size=1, max_size=200))
def test_a_distribution_is_ordered_whatever_the_samples(samples: list[int]) -> None:
    found = distribution_from_samples(np.array(samples))
    values = [found.min, found.p50.value, found.p90.value, found.p95.value, found.p99.value, found.max]
    assert values == sorted(values)
    for estimate in (found.p50, found.p90, found.p95, found.p99):
        assert found.min <= (found.min if estimate.low is None else estimate.low) <= estimate.value
        assert estimate.value <= (found.max if estimate.high is None else estimate.high) <= found.max
    assert 1 <= found.effective_count <= found.count == sum(found.histogram.counts)


def test_intervals_hold_the_true_percentile_as_often_as_promised() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        found = percentile(rng.exponential(size=200), 0.9)
        assert found.low is not None and found.high is not None
        held += found.low <= -math.log(0.1) <= found.high
    assert held / 400 >= 0.93


def test_samples_that_follow_each_other_count_as_fewer() -> None:
    rng = np.random.default_rng(0)
    assert effective_count(rng.normal(size=2000)) > 1600
    values = np.zeros(5000)
    for index in range(1, 5000):
        values[index] = 0.8 * values[index - 1] + rng.normal()
    # Such a sequence is worth (1 - 0.8) / (1 + 0.8) of independent samples.
    assert effective_count(values) == pytest.approx(5000 / 9, rel=0.25)
    assert effective_count(np.ones(50)) == 50
    wide, narrow = distribution_from_samples(values * MS), distribution_from_samples(rng.permutation(values) * MS)
    assert wide.p50.high is not None and narrow.p50.high is not None
    assert wide.p50.high - wide.p50.value > 1.5 * (narrow.p50.high - narrow.p50.value)


def test_warm_up_ends_where_samples_settle() -> None:
    steady = np.random.default_rng(0).normal(100, 2, 500)
    assert warm_up_length(np.concatenate([np.linspace(500, 110, 50), steady])) in (45, 50, 55)
    assert warm_up_length(steady) == 0
    spiky = steady.copy()
    spiky[::50] = 5000
    assert warm_up_length(spiky) == 0, "single slow samples are no warm-up"
    assert warm_up_length(np.ones(10)) == 0
    first = np.random.default_rng(1).normal(1, 0.1, 5000)
    first[:200] *= 3
    found = find_warm_up(first)
    assert found.steady and 195 <= found.length <= 210


@pytest.mark.parametrize("speeds", [(1.20, 0.96), (0.96, 1.20)])
def test_a_speed_that_lasts_is_no_warm_up(speeds: tuple[float, float]) -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(speeds, [20_000, 37_500]) + rng.normal(0, 0.05, 57_500)  # 1.20 ms for 24 s, 0.96 ms for 36
    found = find_warm_up(values)
    assert (found.length, found.steady) == (0, False)
    assert find_warm_up(values[::-1]).length == 0
    drift = find_warm_up(np.linspace(500, 100, 1000) + rng.normal(0, 5, 1000))
    assert (drift.length, drift.steady) == (0, False)


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=600))
def test_warm_up_is_a_tenth_at_most(samples: list[float]) -> None:
    found = find_warm_up(np.array(samples))
    assert 0 <= found.length <= longest_warm_up(len(samples))
    assert found.steady or found.length == 0


def test_steady_samples_are_told_so() -> None:
    rng = np.random.default_rng(0)
    found = [find_warm_up(rng.gamma(4, 0.25, 1000)) for _ in range(200)]
    assert all(each.steady for each in found)
    assert np.mean([each.length for each in found]) < 20, "little is cut by chance"
    assert find_warm_up(np.linspace(500, 100, 99)) == find_warm_up(np.ones(99)), "too few to tell"


def test_shares_have_intervals_at_the_ends_too() -> None:
    none, all_of_them = share_estimate(0, 100), share_estimate(100, 100)
    # Wilson: z^2 / (n + z^2) with z = 1.96
    assert (none.value, none.low) == (0, 0) and none.high == pytest.approx(3.8415 / 103.8415, abs=1e-4)
    assert (all_of_them.value, all_of_them.high) == (1, 1)
    assert all_of_them.low == pytest.approx(1 - 3.8415 / 103.8415, abs=1e-4)


def test_ratios_are_of_rounds_that_share_their_noise() -> None:
    rng = np.random.default_rng(0)
    weather = rng.uniform(1, 3, (40, 1))  # each round on a machine of another speed
    base = weather * rng.normal(100, 1, (40, 10))
    found = ratio_of_percentiles(0.8 * base, base, 0.9)
    assert (found.value, found.low, found.high) == pytest.approx((0.8, 0.8, 0.8))
    assert found == ratio_of_percentiles(0.8 * base, base, 0.9), "same seed, same interval"


def test_trend_is_the_middle_slope() -> None:
    times = np.arange(20.0)
    values = 3 + 0.5 * times
    values[7] = 100  # one outlier moves it not
    found = trend(times, values)
    assert found.value == pytest.approx(0.5)
    assert found.low == pytest.approx(0.5) and found.high == pytest.approx(0.5)
    rng = np.random.default_rng(0)
    for count in (8, 20, 24):
        times, values = np.arange(float(count)), rng.normal(size=count)
        found, turned = trend(times, values), trend(times, -values)
        assert found.low is not None and found.high is not None
        assert (turned.low, turned.value, turned.high) == (-found.high, -found.value, -found.low)
        slopes = [(values[b] - values[a]) / (b - a) for a in range(count) for b in range(a + 1, count)]
        assert sum(slope < found.low for slope in slopes) == sum(slope > found.high for slope in slopes)
    few = trend(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 2.0]))
    assert (few.value, few.low, few.high) == (1, None, None)
