"""Results as CSV: one value per row, with its interval and the whole environment."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, get_type_hints

from fer_edge.benchmark.statistics import Distribution, Estimate
from fer_edge.hardware.gpu_state import Spread
from fer_edge.results import Quantity

if TYPE_CHECKING:
    from fer_edge.benchmark.report import BenchReport
    from fer_edge.benchmark.worker import Comparison


@dataclass(frozen=True)
class Row:
    """One value."""

    scenario: str
    setting: str  # batch size, frame rate, streams or layer
    figure: str
    unit: str
    value: float
    low: float | None = None  # bounds of the interval of 95 % confidence
    high: float | None = None
    warnings: str = ""  # other load during the scenario that makes the value doubtful


def csv_from_rows(rows: Iterable[Row], columns: dict[str, Any]) -> str:
    """Return rows as CSV text.

    Args:
        rows: Values.
        columns: Further columns that are equal in all rows: model, settings and environment.
    """
    buffer = io.StringIO()
    names = [column.name for column in fields(Row)]
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*names, *columns])
    for row in rows:
        values = [getattr(row, name) for name in names]
        writer.writerow([*("" if value is None else value for value in values), *columns.values()])
    return buffer.getvalue()


def csv_from_report(report: BenchReport) -> bytes:
    """Return every value of a report as CSV, except the bins of histograms."""
    return csv_from_rows(rows_from_report(report), run_columns(report)).encode()


def run_columns(report: BenchReport) -> dict[str, Any]:
    """Return the columns that describe a run: model, settings and environment."""
    of_results: dict[str, str] = {}
    for scenario, result in report.results_by_scenario():
        of_results |= scenario.columns(result)
    return {
        "bundle": report.bundle,
        "bundle SHA-256": report.bundle_sha256,
        "engine": report.engine,
        "precision": report.precision,
        "threads": report.threads or "engine's default",
        **{f"plan {name}": _cell(value) for name, value in vars(report.plan).items()},
        "left out": " | ".join(f"{name}: {reason}" for name, reason in report.left_out.items()),
        "failed": " | ".join(f"{name}: {reason}" for name, reason in report.failed.items()),
        **of_results,
        **report.environment,
    }


def rows_from_report(report: BenchReport) -> list[Row]:
    """Return every value of a report, except the bins of histograms."""
    others = {column.name for column in fields(report)} - {"load_ms", "memory_mb", "peak_memory_mb"}
    rows = [*rows_from_fields("load", "", report, without=others), *_bundle_rows(report)]
    for scenario, result in report.results_by_scenario():
        rows += scenario.rows(result)
    if report.parity is not None:
        rows += rows_from_fields("parity", "", report.parity, without=("stages",))
        rows += rows_from_fields("parity", "gate", report.parity.gate)
        rows += [row for stage in report.parity.stages for row in rows_from_fields("parity", stage.name, stage)]
    warnings = {name: "; ".join(noise.warnings) for name, noise in report.noise.items()}
    rows = [replace(row, warnings=warnings.get(row.scenario, "")) for row in rows]
    return [*rows, *(row for name, noise in report.noise.items() for row in rows_from_fields(name, "noise", noise))]


def rows_from_comparisons(comparisons: Sequence[Comparison]) -> list[Row]:
    """Return every value of a comparison."""
    rows: list[Row] = []
    for comparison in comparisons:
        rows += latency_rows("compare", comparison.name, comparison.latency)
        rows.append(_estimate_row("compare", comparison.name, "ratio of p50", "", comparison.p50_ratio))
        rows.append(_estimate_row("compare", comparison.name, "ratio of p90", "", comparison.p90_ratio))
    return rows


def rows_from_fields(scenario: str, setting: str, result: Any, *, without: Collection[str] = ()) -> list[Row]:
    """Return every number, estimate, spread and latency of a dataclass, and of lists and dicts in it.

    Titles and units are those of `results.Quantity`; fields with a key give the setting. Values of other types, and
    single dataclasses inside, are left to the caller.

    Args:
        scenario: Name of the scenario.
        setting: Setting of the rows, if no field has a key.
        result: Dataclass.
        without: Fields to skip.
    """
    hints = get_type_hints(type(result), include_extras=True)
    columns = {column.name: _quantity(hints[column.name]) for column in fields(result) if column.name not in without}
    keys = [column.key.format(getattr(result, name)) for name, column in columns.items() if column.key]
    rows: list[Row] = []
    for name, column in columns.items():
        if not column.key:
            title = column.title or name.replace("_", " ")
            rows += _value_rows(scenario, ", ".join(keys) or setting, title, column.unit, getattr(result, name))
    return rows


def _quantity(hint: Any) -> Quantity:
    """Return the annotation of a field, or an empty one."""
    return next((extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Quantity)), Quantity())


def _value_rows(scenario: str, setting: str, title: str, unit: str, value: Any) -> list[Row]:
    """Return the rows of a field's value."""
    if isinstance(value, Distribution):
        return latency_rows(scenario, setting, value)
    if isinstance(value, Estimate):
        return [_estimate_row(scenario, setting, title, unit or "ms", value)]
    if isinstance(value, Spread):
        return [Row(scenario, setting, f"{title}, {part}", unit, number) for part, number in vars(value).items()]
    if isinstance(value, (int, float)):
        return [Row(scenario, setting, title, unit, +value)]  # the sign converts True and False to 1 and 0
    if isinstance(value, dict):
        return [row for name, inner in value.items() for row in _value_rows(scenario, name, title, unit, inner)]
    parts = value if isinstance(value, (list, tuple)) else ()
    return [row for part in parts if is_dataclass(part) for row in rows_from_fields(scenario, setting, part)]


def latency_rows(scenario: str, setting: str, latency: Distribution) -> list[Row]:
    """Return percentiles, mean, extremes and number of queries."""
    percentiles = [
        _estimate_row(scenario, setting, name, "ms", getattr(latency, name)) for name in ("p50", "p90", "p95", "p99")
    ]
    others = [Row(scenario, setting, name, "ms", getattr(latency, name)) for name in ("mean", "min", "max")]
    queries = Row(scenario, setting, "queries", "", latency.count)
    return [*percentiles, *others, queries, Row(scenario, setting, "effective queries", "", latency.effective_count)]


def _bundle_rows(report: BenchReport) -> Iterator[Row]:
    """Yield the bundle's operators and the proof of its precision."""
    for operator, types in report.operators.items():
        for element, count in types.items():
            yield Row("bundle", f"{operator} {element}", "nodes", "", count)
    for name, share in report.proven.items():
        yield Row("bundle", name, "multiply-accumulates of the built engine", "share", share)


def _cell(value: Any) -> Any:
    """Return a setting as one cell."""
    return " ".join(f"{number:g}" for number in value) if isinstance(value, tuple) else value


def _estimate_row(scenario: str, setting: str, figure: str, unit: str, estimate: Estimate) -> Row:
    return Row(scenario, setting, figure, unit, estimate.value, estimate.low, estimate.high)
