"""Statistics of latencies: percentiles with confidence intervals, warm-up detection, autocorrelation.

Intervals come from order statistics: the number of samples below a percentile is binomially distributed, whatever the
distribution of the latencies. Consecutive samples are correlated, so they count as fewer (`effective_count`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.floating[Any]] | npt.NDArray[np.integer[Any]]

CONFIDENCE = 0.95
PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
NORMAL = 1.959964  # 97.5th percentile of the standard normal distribution
BLOCK = 5  # number of samples whose median is one point of the warm-up detection
WARM_UP_PART = 10  # the warm-up is at most 1/10 of the samples
MIN_FOR_WARM_UP = 100  # with fewer samples, the detected end of the warm-up is random
MIN_IMPROVEMENT = 0.8  # unsteady only if a later cut-off's error is below 80 % of that of the best allowed cut-off
BINS = 40
RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A value with its interval of 95 % confidence."""

    value: float
    low: float | None = None  # None: too few samples for this bound
    high: float | None = None


@dataclass(frozen=True)
class Histogram:
    """Number of samples in each bin; the last bin includes all slower samples."""

    edges: tuple[float, ...]  # milliseconds
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Distribution:
    """Latencies in milliseconds, warm-up excluded."""

    count: int
    effective_count: int  # number of independent samples with the same information
    mean: float
    min: float
    p50: Estimate
    p90: Estimate
    p95: Estimate
    p99: Estimate
    max: float
    histogram: Histogram


@dataclass(frozen=True)
class WarmUp:
    """Samples at the start of a run that are excluded."""

    length: int
    steady: bool  # False: the best cut-off is clearly beyond the longest allowed warm-up, so nothing is excluded


def distribution_from_samples(nanoseconds: Samples) -> Distribution:
    """Summarise latencies.

    Args:
        nanoseconds: Latencies in the order of measurement, shape (N,).
    """
    values = np.asarray(nanoseconds, np.float64) / 1e6
    effective = effective_count(values)
    ordered = np.sort(values)
    percentiles = {name: _percentile(ordered, share, effective) for name, share in PERCENTILES.items()}
    return Distribution(
        count=len(values),
        effective_count=effective,
        mean=float(values.mean()),
        min=float(ordered[0]),
        max=float(ordered[-1]),
        histogram=_histogram(ordered),
        **percentiles,
    )


def percentile(values: Samples, share: float, effective: int | None = None) -> Estimate:
    """Return the smallest sample that is greater than or equal to `share` of all samples, with its interval.

    Args:
        values: Samples in any order.
        share: Rank of the percentile, above 0 and up to 1.
        effective: Effective number of samples, see `effective_count`; default: their number.
    """
    return _percentile(np.sort(np.asarray(values, np.float64)), share, effective or len(values))


def _percentile(ordered: npt.NDArray[np.float64], share: float, effective: int) -> Estimate:
    """Return a percentile of sorted samples."""
    count = len(ordered)
    low, high = rank_interval(effective, share)
    scale = count / effective
    return Estimate(
        float(ordered[max(1, math.ceil(share * count)) - 1]),
        None if low is None else float(ordered[max(1, math.floor(low * scale)) - 1]),
        None if high is None else float(ordered[min(count, math.ceil(high * scale)) - 1]),
    )


def rank_interval(count: int, share: float, confidence: float = CONFIDENCE) -> tuple[int | None, int | None]:
    """Return the ranks, from 1, of the samples that enclose a percentile of the distribution.

    The percentile lies outside each bound with a probability of at most (1 - confidence) / 2.

    Args:
        count: Number of independent samples.
        share: Rank of the percentile, above 0 and below 1.
        confidence: Probability that the percentile is enclosed, 0.95 by default.

    Returns:
        Lower and upper rank; None where even the smallest or largest sample would miss too often.
    """
    tail = (1 - confidence) / 2
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    below = np.arange(count + 1)
    # Binomial probability of each number of samples below the percentile.
    probability = np.exp(
        log_factorials[count]
        - log_factorials
        - log_factorials[::-1]
        + below * math.log(share)
        + (count - below) * math.log1p(-share)
    )
    at_most = np.cumsum(probability)
    at_least = np.cumsum(probability[::-1])[::-1]
    low = int(np.searchsorted(at_most, tail, side="right"))
    high = count + 1 - int(np.searchsorted(at_least[::-1], tail, side="right"))
    return (low if low >= 1 else None), (high if high <= count else None)


def effective_count(values: Samples) -> int:
    """Return the number of independent samples that carry as much information as these consecutive ones.

    It is the number of samples divided by the integrated autocorrelation time of their ranks, summed over pairs of lags
    while the sums are positive (Geyer, 1992).
    """
    count = len(values)
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(np.float64)
    ranks -= ranks.mean()
    if count < 4 or np.ptp(values) == 0:
        return count
    spectrum = np.fft.rfft(ranks, 2 * count)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[:count]
    correlation /= correlation[0]
    pairs = correlation[: count // 2 * 2].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0)
    pairs = pairs[: negative[0]] if len(negative) else pairs
    return max(1, min(count, round(count / max(1.0, 2 * float(pairs.sum()) - 1))))


def find_warm_up(values: Samples) -> WarmUp:
    """Find the warm-up: the cut-off with the smallest standard error of the remaining mean, within the first tenth.

    The method is MSER (White, 1997) on medians of five samples, which single slow samples do not affect. It searches
    the first half, as published, but accepts no cut-off beyond the first tenth: a later change is a change of the
    machine's speed, and cutting would hide one of the speeds. The limit is a share and not a time, because a time could
    exceed a short run. Fewer than 100 samples have no warm-up and count as steady.
    """
    if len(values) < MIN_FOR_WARM_UP:
        return WarmUp(0, True)
    errors = _errors_after_cuts(values)
    allowed = errors[: longest_warm_up(len(values)) // BLOCK + 1]
    best = int(np.argmax(allowed <= allowed.min() + 1e-9 * allowed[0]))  # the first of equal errors
    if errors.min() < allowed[best] - 1e-9 * allowed[0]:
        return WarmUp(0, bool(errors.min() >= MIN_IMPROVEMENT * allowed[best]))
    return WarmUp(best * BLOCK, True)


def warm_up_length(values: Samples) -> int:
    """Return the number of samples of the warm-up; 0 if the samples settle after the first tenth."""
    return find_warm_up(values).length


def longest_warm_up(count: int) -> int:
    """Return the largest number of samples that `find_warm_up` excludes from `count`."""
    return count // WARM_UP_PART


def _errors_after_cuts(values: Samples) -> npt.NDArray[np.float64]:
    """Return the squared standard error of the mean after cutting 0, 1, 2, ... blocks, up to half of the samples."""
    blocks = len(values) // BLOCK
    medians = np.median(np.asarray(values[: blocks * BLOCK], np.float64).reshape(blocks, BLOCK), axis=1)
    medians -= medians.mean()  # differences of large squares would lose precision
    remaining = np.arange(blocks, 0, -1)
    sums = np.cumsum(medians[::-1])[::-1]
    squares = np.cumsum(medians[::-1] ** 2)[::-1]
    errors: npt.NDArray[np.float64] = (squares - sums**2 / remaining) / remaining**2
    return errors[: blocks // 2 + 1]


def share_estimate(hits: int, count: int) -> Estimate:
    """Return a proportion with Wilson's score interval, which is valid near 0 and 1 too."""
    share, weight = hits / count, NORMAL**2 / count
    centre = (share + weight / 2) / (1 + weight)
    reach = NORMAL * math.sqrt(share * (1 - share) / count + weight / (4 * count)) / (1 + weight)
    return Estimate(share, 0.0 if hits == 0 else max(0.0, centre - reach), 1.0 if hits == count else centre + reach)


def ratio_of_percentiles(a: Samples, b: Samples, share: float, seed: int = 0) -> Estimate:
    """Return a percentile of `a` divided by that of `b`; the interval is a bootstrap over whole rounds.

    Args:
        a: Samples of the numerator, shape (rounds, queries).
        b: Samples of the denominator, measured in the same rounds, shape (rounds, queries).
        share: Rank of the percentile, above 0 and up to 1.
        seed: Seed of the bootstrap.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    picked = np.random.default_rng(seed).integers(0, len(a), (RESAMPLES, len(a)))

    def resample(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        samples = (values[rounds].ravel() for rounds in picked)
        return np.array([np.percentile(sample, 100 * share, method="inverted_cdf") for sample in samples])

    low, high = np.percentile(resample(a) / resample(b), [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
    return Estimate(percentile(a.ravel(), share).value / percentile(b.ravel(), share).value, float(low), float(high))


def trend(times: Samples, values: Samples) -> Estimate:
    """Return the slope of `values` over `times`: the median slope between pairs of points (Theil-Sen).

    Both bounds have the same rank, counted from opposite ends, so negated values negate the interval.
    """
    first, second = np.triu_indices(len(times), 1)
    slopes = np.sort((values[second] - values[first]) / (times[second] - times[first]))
    count = len(times)
    reach = NORMAL * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)  # of Kendall's statistic
    rank = math.floor((len(slopes) - reach) / 2)  # of the lower bound from below and of the upper bound from above
    median = float(np.median(slopes))
    return Estimate(median, float(slopes[rank - 1]), float(slopes[-rank])) if rank >= 1 else Estimate(median)


def _histogram(ordered: npt.NDArray[np.float64]) -> Histogram:
    """Return bins of equal width up to the 99.5th percentile: outliers would squeeze all others into one bin."""
    top = float(ordered[math.ceil(0.995 * len(ordered)) - 1])
    low = float(ordered[0])
    edges = np.linspace(low, top if top > low else low + 1e-6, BINS + 1)
    counts = np.histogram(np.minimum(ordered, edges[-1]), edges)[0]
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))
