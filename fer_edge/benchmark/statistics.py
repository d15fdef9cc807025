"""What a figure is worth: percentiles with intervals, where warm-up ends, how far samples depend on each other.

Intervals come from order statistics: how many samples lie below a percentile is binomial, whatever the latencies'
distribution is. Samples that follow each other are alike, so they count as fewer (`effective_count`).
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
NORMAL = 1.959964  # of a normal distribution, 95 % lie within so many standard deviations
BLOCK = 5  # samples whose median is one point for the detection of warm-up
WARM_UP_PART = 10  # at most one in so many samples is warm-up
FEWEST_FOR_WARM_UP = 100  # in fewer, chance moves the end of the warm-up about
CLEARLY = 0.8  # of the error after the best allowed cut; above it, a later cut is as good by chance
BINS = 40
RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A figure, and the bounds between which the true one lies with 95 % confidence."""

    value: float
    low: float | None = None  # None: there are too few samples to tell
    high: float | None = None


@dataclass(frozen=True)
class Histogram:
    """How many samples lie between each edge and the next; the last bin has all that is slower."""

    edges: tuple[float, ...]  # milliseconds
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Distribution:
    """Latencies in milliseconds, without those of the warm-up."""

    count: int
    effective_count: int  # so many independent samples tell as much
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
    """The first samples, which do not count."""

    length: int
    steady: bool  # False: the best cut lies clearly beyond the longest warm-up, so nothing is cut


def distribution_from_samples(nanoseconds: Samples) -> Distribution:
    """Summarise latencies in the order in which they were taken."""
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
    """The smallest sample that at least this share of all does not exceed.

    Args:
        values: In any order.
        share: Above 0, up to 1.
        effective: How many independent samples they are worth, see `effective_count`; all of them if not given.
    """
    return _percentile(np.sort(np.asarray(values, np.float64)), share, effective or len(values))


def _percentile(ordered: npt.NDArray[np.float64], share: float, effective: int) -> Estimate:
    count = len(ordered)
    low, high = rank_interval(effective, share)
    scale = count / effective
    return Estimate(
        float(ordered[max(1, math.ceil(share * count)) - 1]),
        None if low is None else float(ordered[max(1, math.floor(low * scale)) - 1]),
        None if high is None else float(ordered[min(count, math.ceil(high * scale)) - 1]),
    )


def rank_interval(count: int, share: float, confidence: float = CONFIDENCE) -> tuple[int | None, int | None]:
    """Ranks, from 1, of the samples between which a percentile of the distribution lies.

    Each bound is missed with a probability of at most half of what `confidence` leaves. None where even the smallest
    or largest sample would be missed more often.
    """
    tail = (1 - confidence) / 2
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])  # of factorials
    below = np.arange(count + 1)
    chance = np.exp(
        logs[count] - logs - logs[::-1] + below * math.log(share) + (count - below) * math.log1p(-share)
    )  # that so many samples lie below the percentile
    at_most = np.cumsum(chance)
    at_least = np.cumsum(chance[::-1])[::-1]
    low = int(np.searchsorted(at_most, tail, side="right"))
    high = count + 1 - int(np.searchsorted(at_least[::-1], tail, side="right"))
    return (low if low >= 1 else None), (high if high <= count else None)


def effective_count(values: Samples) -> int:
    """How many independent samples tell as much as these, which follow each other.

    The count over the integrated autocorrelation time of the ranks, summed over pairs of lags while they are positive
    (Geyer, 1992).
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
    """Where the warm-up ends: at the cut after which the mean is known best, if it lies in the first tenth.

    MSER (White, 1997) on medians of five samples, so that single slow ones do not count. It looks for the best cut in
    the first half, as published, but takes none beyond the first tenth. What lasts longer is no warm-up: it is a
    machine that changes its speed, and a cut would hide one of its speeds. The bound is a share and not a time, since a
    time would be all of a short run. Fewer than 100 samples are left whole, and taken for steady.
    """
    if len(values) < FEWEST_FOR_WARM_UP:
        return WarmUp(0, True)
    errors = _errors_after_cuts(values)
    allowed = errors[: longest_warm_up(len(values)) // BLOCK + 1]
    best = int(np.argmax(allowed <= allowed.min() + 1e-9 * allowed[0]))  # the first of equals
    if errors.min() < allowed[best] - 1e-9 * allowed[0]:
        return WarmUp(0, bool(errors.min() >= CLEARLY * allowed[best]))
    return WarmUp(best * BLOCK, True)


def warm_up_length(values: Samples) -> int:
    """How many of the first samples are warm-up; at most a tenth, and none if they settle later."""
    return find_warm_up(values).length


def longest_warm_up(count: int) -> int:
    """How many of so many samples `find_warm_up` cuts at most."""
    return count // WARM_UP_PART


def _errors_after_cuts(values: Samples) -> npt.NDArray[np.float64]:
    """Squared standard error of the mean of what is left, for cuts of 0, 1, 2, ... blocks up to half of all."""
    blocks = len(values) // BLOCK
    medians = np.median(np.asarray(values[: blocks * BLOCK], np.float64).reshape(blocks, BLOCK), axis=1)
    medians -= medians.mean()  # squares of large numbers close to each other would lose their digits
    left = np.arange(blocks, 0, -1)
    sums = np.cumsum(medians[::-1])[::-1]
    squares = np.cumsum(medians[::-1] ** 2)[::-1]
    errors: npt.NDArray[np.float64] = (squares - sums**2 / left) / left**2
    return errors[: blocks // 2 + 1]


def share_estimate(hits: int, count: int) -> Estimate:
    """A share with Wilson's score interval, which holds for shares near 0 and 1 too."""
    share, weight = hits / count, NORMAL**2 / count
    middle = (share + weight / 2) / (1 + weight)
    reach = NORMAL * math.sqrt(share * (1 - share) / count + weight / (4 * count)) / (1 + weight)
    return Estimate(share, 0.0 if hits == 0 else max(0.0, middle - reach), 1.0 if hits == count else middle + reach)


def ratio_of_percentiles(a: Samples, b: Samples, share: float, seed: int = 0) -> Estimate:
    """One percentile of `a` over that of `b`, both (rounds, queries); the bootstrap's interval is over whole rounds."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    picked = np.random.default_rng(seed).integers(0, len(a), (RESAMPLES, len(a)))

    def of_rounds(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        flat = (values[rounds].ravel() for rounds in picked)
        return np.array([np.percentile(each, 100 * share, method="inverted_cdf") for each in flat])

    low, high = np.percentile(of_rounds(a) / of_rounds(b), [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
    return Estimate(percentile(a.ravel(), share).value / percentile(b.ravel(), share).value, float(low), float(high))


def trend(times: Samples, values: Samples) -> Estimate:
    """Change of `values` with `times`: the median slope between pairs of points (Theil and Sen), with its interval.

    Its bounds have the same rank from either end, so values that are turned round turn the interval round.
    """
    first, second = np.triu_indices(len(times), 1)
    slopes = np.sort((values[second] - values[first]) / (times[second] - times[first]))
    count = len(times)
    reach = NORMAL * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)  # of Kendall's statistic
    rank = math.floor((len(slopes) - reach) / 2)  # from 1, of the lower bound from below and the upper from above
    middle = float(np.median(slopes))
    return Estimate(middle, float(slopes[rank - 1]), float(slopes[-rank])) if rank >= 1 else Estimate(middle)


def _histogram(ordered: npt.NDArray[np.float64]) -> Histogram:
    """Bins of equal width up to the 99.5th percentile; a few outliers must not squeeze the rest into one."""
    top = float(ordered[math.ceil(0.995 * len(ordered)) - 1])
    low = float(ordered[0])
    edges = np.linspace(low, top if top > low else low + 1e-6, BINS + 1)
    counts = np.histogram(np.minimum(ordered, edges[-1]), edges)[0]
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))
