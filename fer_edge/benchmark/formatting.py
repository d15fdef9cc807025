"""Text of values in the tables and notes of benchmark results."""

from __future__ import annotations

from dataclasses import dataclass

from fer_edge.benchmark.statistics import Distribution, Estimate

PERCENTILE_COLUMNS = ("p50 ms", "p90 ms", "p99 ms")
RATE_COLUMNS = (*PERCENTILE_COLUMNS, "images/s")


@dataclass(frozen=True)
class Cell:
    """An estimate in a table: its value as text, and its interval, which only the report page shows."""

    estimate: Estimate
    digits: int = 3

    def __str__(self) -> str:
        return f"{self.estimate.value:.{self.digits}f}"

    @property
    def interval(self) -> str:
        """The interval as text, `1.000 to 2.000`; empty if both bounds are unknown."""
        bounds = interval(self.estimate, self.digits)
        return "" if bounds == "-" else bounds


def percentile_cells(latency: Distribution) -> tuple[Cell, Cell, Cell]:
    """Return the cells of `PERCENTILE_COLUMNS`."""
    return Cell(latency.p50), Cell(latency.p90), Cell(latency.p99)


def rate_cells(latency: Distribution, images_per_second: float) -> tuple[object, ...]:
    """Return the cells of `RATE_COLUMNS`."""
    return (*percentile_cells(latency), f"{images_per_second:.0f}")


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
