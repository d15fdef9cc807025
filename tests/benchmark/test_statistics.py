"""Statistics: values computed by hand, and properties for any samples."""

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


def test_ranks_of_the_median_equal_the_sign_test() -> None:
    # The number of samples below the median is Binomial(n, 1/2). n = 6: P(0) = 1/64 < 0.025 < P(0) + P(1) = 7/64.
    assert rank_interval(6, 0.5) == (1, 6)
    assert rank_interval(5, 0.5) == (None, None)  # 1/32 > 0.025 on either side
    # n = 10: P(at most 1) = 11/1024, P(at most 2) = 56/1024.
    assert rank_interval(10, 0.5) == (2, 9)
    assert rank_interval(10, 0.5, confidence=0.8) == (3, 8)


def test_p99_has_an_upper_bound_from_368_samples_on() -> None:
    # All n samples are below the 99th percentile with probability 0.99^n, which is 0.025 at n = 367.04.
    assert rank_interval(367, 0.99)[1] is None
    assert rank_interval(368, 0.99)[1] == 368


def _tail(count: int, share: float, ranks: range) -> float:
    return sum(math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in ranks)


@given(st.integers(1, 300), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_bounds_miss_at_most_one_in_forty_and_are_tight(count: int, share: float) -> None:
    low, high = rank_interval(count, share)
    allowed = 0.025 + 1e-9
    if low is not None:
        assert _tail(count, share, range(low)) <= allowed
    assert _tail(count, share, range((low or 0) + 1)) > allowed - 2e-9
    if high is not None:
        assert _tail(count, share, range(high, count + 1)) <= allowed
    assert _tail(count, share, range((high or count + 1) - 1, count + 1)) > allowed - 2e-9


def test_percentiles_are_samples() -> None:
    distribution = distribution_from_samples(np.random.default_rng(0).permutation(np.arange(1, 101)) * MS)
    assert (distribution.p50.value, distribution.p90.value, distribution.p95.value, distribution.p99.value) == (
        50,
        90,
        95,
        99,
    )
    assert (distribution.count, distribution.mean, distribution.min, distribution.max) == (100, 50.5, 1, 100)
    assert sum(distribution.histogram.counts) == 100 and len(distribution.histogram.edges) == BINS + 1
    assert percentile(np.array([3.0, 1.0, 2.0]), 0.5).value == 2


@given(st.lists(st.integers(1, 10**10), min_size=1, max_size=200))
def test_percentiles_of_any_samples_are_ordered(samples: list[int]) -> None:
    distribution = distribution_from_samples(np.array(samples))
    values = [
        distribution.min,
        distribution.p50.value,
        distribution.p90.value,
        distribution.p95.value,
        distribution.p99.value,
        distribution.max,
    ]
    assert values == sorted(values)
    for estimate in (distribution.p50, distribution.p90, distribution.p95, distribution.p99):
        assert distribution.min <= (distribution.min if estimate.low is None else estimate.low) <= estimate.value
        assert estimate.value <= (distribution.max if estimate.high is None else estimate.high) <= distribution.max
    assert 1 <= distribution.effective_count <= distribution.count == sum(distribution.histogram.counts)


def test_intervals_contain_the_true_percentile() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        estimate = percentile(rng.exponential(size=200), 0.9)
        assert estimate.low is not None and estimate.high is not None
        hits += estimate.low <= -math.log(0.1) <= estimate.high
    assert hits / 400 >= 0.93


def test_correlated_samples_count_as_fewer() -> None:
    rng = np.random.default_rng(0)
    assert effective_count(rng.normal(size=2000)) > 1600
    values = np.zeros(5000)
    for index in range(1, 5000):
        values[index] = 0.8 * values[index - 1] + rng.normal()
    # The effective share of an AR(1) sequence is (1 - 0.8) / (1 + 0.8).
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
    assert warm_up_length(spiky) == 0, "single slow samples do not count as warm-up"
    assert warm_up_length(np.ones(10)) == 0
    first = np.random.default_rng(1).normal(1, 0.1, 5000)
    first[:200] *= 3
    warm_up = find_warm_up(first)
    assert warm_up.steady and 195 <= warm_up.length <= 210


@pytest.mark.parametrize("speeds", [(1.20, 0.96), (0.96, 1.20)])
def test_lasting_change_of_speed_is_not_a_warm_up(speeds: tuple[float, float]) -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(speeds, [20_000, 37_500]) + rng.normal(0, 0.05, 57_500)  # 1.20 ms for 24 s, 0.96 ms for 36
    warm_up = find_warm_up(values)
    assert (warm_up.length, warm_up.steady) == (0, False)
    assert find_warm_up(values[::-1]).length == 0
    drift = find_warm_up(np.linspace(500, 100, 1000) + rng.normal(0, 5, 1000))
    assert (drift.length, drift.steady) == (0, False)


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=600))
def test_warm_up_is_at_most_a_tenth(samples: list[float]) -> None:
    warm_up = find_warm_up(np.array(samples))
    assert 0 <= warm_up.length <= longest_warm_up(len(samples))
    assert warm_up.steady or warm_up.length == 0


def test_steady_samples_have_little_warm_up() -> None:
    rng = np.random.default_rng(0)
    warm_ups = [find_warm_up(rng.gamma(4, 0.25, 1000)) for _ in range(200)]
    assert all(warm_up.steady for warm_up in warm_ups)
    assert np.mean([warm_up.length for warm_up in warm_ups]) < 20, "few samples are cut by chance"
    assert find_warm_up(np.linspace(500, 100, 99)) == find_warm_up(np.ones(99)), "too few samples"


def test_shares_of_0_and_1_have_intervals() -> None:
    none, all_of_them = share_estimate(0, 100), share_estimate(100, 100)
    # Wilson: z^2 / (n + z^2) with z = 1.96
    assert (none.value, none.low) == (0, 0) and none.high == pytest.approx(3.8415 / 103.8415, abs=1e-4)
    assert (all_of_them.value, all_of_them.high) == (1, 1)
    assert all_of_them.low == pytest.approx(1 - 3.8415 / 103.8415, abs=1e-4)


def test_ratios_use_rounds_with_common_noise() -> None:
    rng = np.random.default_rng(0)
    speed = rng.uniform(1, 3, (40, 1))  # of the machine in each round
    base = speed * rng.normal(100, 1, (40, 10))
    ratio = ratio_of_percentiles(0.8 * base, base, 0.9)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.8, 0.8, 0.8))
    assert ratio == ratio_of_percentiles(0.8 * base, base, 0.9), "the seed determines the interval"


def test_trend_is_the_median_slope() -> None:
    times = np.arange(20.0)
    values = 3 + 0.5 * times
    values[7] = 100  # an outlier does not move the median
    slope = trend(times, values)
    assert slope.value == pytest.approx(0.5)
    assert slope.low == pytest.approx(0.5) and slope.high == pytest.approx(0.5)
    rng = np.random.default_rng(0)
    for count in (8, 20, 24):
        times, values = np.arange(float(count)), rng.normal(size=count)
        slope, negated = trend(times, values), trend(times, -values)
        assert slope.low is not None and slope.high is not None
        assert (negated.low, negated.value, negated.high) == (-slope.high, -slope.value, -slope.low)
        slopes = [(values[b] - values[a]) / (b - a) for a in range(count) for b in range(a + 1, count)]
        assert sum(value < slope.low for value in slopes) == sum(value > slope.high for value in slopes)
    few = trend(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 2.0]))
    assert (few.value, few.low, few.high) == (1, None, None)
