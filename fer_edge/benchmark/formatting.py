"""Text of values in the tables and notes of benchmark results."""

from __future__ import annotations

from fer_edge.benchmark.statistics import Distribution, Estimate

PERCENTILE_COLUMNS = ("p50 ms", "p90 ms", "p99 ms")


def percentile_cells(latency: Distribution) -> tuple[str, str, str]:
    """Return the cells of `PERCENTILE_COLUMNS`."""
    return f"{latency.p50.value:.3f}", f"{latency.p90.value:.3f}", f"{latency.p99.value:.3f}"


def with_interval(estimate: Estimate, digits: int = 3) -> str:
    """Format a value and its interval, `1.235 (1.000 to 2.000)`; an unknown bound is left open."""
    value = f"{estimate.value:.{digits}f}"
    bounds = interval(estimate, digits)
    return value if bounds == "-" else f"{value} ({bounds})"


def interval(estimate: Estimate, digits: int = 3) -> str:
    """Format an interval, `1.000 to 2.000`; an unknown bound is left open, and `-` stands for two of them."""
    low, high = (None if bound is None else f"{bound:.{digits}f}" for bound in (estimate.low, estimate.high))
    if low is None:
        return "-" if high is None else f"up to {high}"
    return f"from {low}" if high is None else f"{low} to {high}"


def in_percent(share: Estimate) -> Estimate:
    """Convert a proportion to percent."""
    low, high = (None if bound is None else 100 * bound for bound in (share.low, share.high))
    return Estimate(100 * share.value, low, high)


def percent(share: float | None) -> str:
    """Format a proportion as whole percent; `-` if it is unknown."""
    return "-" if share is None else f"{100 * share:.0f} %"


def megabytes(size: float | None) -> str:
    """Format a size in MB."""
    return "unknown" if size is None else f"{size:.0f} MB"
