"""Results as CSV: one value per row, with its interval and the whole environment."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from fer_edge.benchmark.statistics import Distribution, Estimate
from fer_edge.hardware.gpu_state import Spread

if TYPE_CHECKING:
    from fer_edge.benchmark.bench_report import BenchReport
    from fer_edge.benchmark.scenarios.cold_start import ColdStart
    from fer_edge.benchmark.turns import Comparison

# Title and unit of fields whose name is not enough. Other fields have their name as title and no unit.
TITLES: dict[str, tuple[str, str]] = {
    "load_ms": ("load", "ms"),
    "memory_mb": ("memory of the benchmark", "MB"),
    "peak_memory_mb": ("peak memory of the benchmark", "MB"),
    "first_ms": ("first query", "ms"),
    "warm_up": ("warm-up", "queries"),
    "seconds": ("seconds", "s"),
    "images_per_second": ("rate", "images/s"),
    "late": ("late frames", ""),
    "late_share": ("late", "share"),
    "busy_share": ("busy", "share"),
    "slowest_stream": ("slowest stream to mean", ""),
    "drift": ("drift", "% per minute"),
    "slowest_to_fastest": ("slowest to fastest window", ""),
    "p50": ("p50", "ms"),
    "p90": ("p90", "ms"),
    "mhz": ("clock", "MHz"),
    "celsius": ("temperature", "degrees Celsius"),
    "sm_clock_mhz": ("SM clock", "MHz"),
    "memory_clock_mhz": ("memory clock", "MHz"),
    "power_w": ("power", "W"),
    "temperature_c": ("temperature", "degrees Celsius"),
    "memory_used_mb": ("memory in use by all processes", "MB"),
    "own_imports": ("own imports", "ms"),
    "first_start": ("first start with kernel compilation", "ms"),
    "milliseconds": ("time", "ms"),
    "at_peak": ("time at the peaks", "ms"),
    "microseconds": ("time", "us"),
    "macs": ("multiply-accumulates", ""),
    "macs_per_second": ("rate", "MAC/s"),
    "macs_per_byte": ("multiply-accumulates per byte", ""),
    "peak": ("peak of its precision", "MAC/s"),
    "share_of_time": ("share of time", "share"),
    "share_of_peak": ("share of peak", "share"),
    "share_of_roof": ("share of roof", "share"),
    "load_before": ("load before", ""),
    "others_share": ("other processes", "share"),
    "stolen_share": ("hypervisor", "share"),
    "preemptions": ("preemptions", "1/s"),
}


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


def run_columns(report: BenchReport) -> dict[str, Any]:
    """Return the columns that describe a run: model, settings and environment."""
    gpu = None if report.on_device is None else report.on_device.gpu
    state: dict[str, str] = {}
    if gpu is not None:
        reasons = " ".join(gpu.held_down_by) or "nothing"
        state = {"GPU": gpu.name, "GPU driver": gpu.driver, "GPU clocks reduced by": reasons}
    return {
        "bundle": report.bundle,
        "bundle SHA-256": report.bundle_sha256,
        "engine": report.engine,
        "precision": report.precision,
        "threads": report.threads or "engine's default",
        "tuned": report.tuned,
        **{f"plan {name}": _cell(value) for name, value in vars(report.plan).items()},
        "left out": " | ".join(f"{name}: {reason}" for name, reason in report.left_out.items()),
        "failed": " | ".join(f"{name}: {reason}" for name, reason in report.failed.items()),
        **state,
        **report.environment,
    }


def rows_from_report(report: BenchReport) -> list[Row]:
    """Return every value of a report, except the bins of histograms."""
    rows = [*_values("load", "", report, only=("load_ms", "memory_mb", "peak_memory_mb")), *_bundle_rows(report)]
    rows += _stream_rows(report)
    rows += _on_device_rows(report)
    if report.cold_start is not None:
        rows += _cold_start_rows(report.cold_start)
    if report.sustained is not None:
        rows += _values("sustained", "", report.sustained)
        for window in report.sustained.windows:
            rows += _values("sustained", f"{window.start:g} s", window, without=("start",))
    if report.parity is not None:
        rows += [*_values("parity", "", report.parity), *_values("parity", "gate", report.parity.gate)]
        rows += [row for stage in report.parity.stages for row in _values("parity", stage.name, stage)]
    rows += _roofline_rows(report)
    warnings = {name: "; ".join(noise.warnings) for name, noise in report.noise.items()}
    rows = [replace(row, warnings=warnings.get(row.scenario, "")) for row in rows]
    return [*rows, *(row for name, noise in report.noise.items() for row in _values(name, "noise", noise))]


def rows_from_comparisons(comparisons: Sequence[Comparison]) -> list[Row]:
    """Return every value of a comparison."""
    rows: list[Row] = []
    for comparison in comparisons:
        rows += _latency_rows("compare", comparison.name, comparison.latency)
        rows.append(_estimate_row("compare", comparison.name, "ratio of p50", "", comparison.p50_ratio))
        rows.append(_estimate_row("compare", comparison.name, "ratio of p90", "", comparison.p90_ratio))
    return rows


def _bundle_rows(report: BenchReport) -> Iterator[Row]:
    """Yield the bundle's operators and the proof of its precision."""
    for operator, types in report.operators.items():
        for element, count in types.items():
            yield Row("bundle", f"{operator} {element}", "nodes", "", count)
    for name, share in report.proven.items():
        yield Row("bundle", name, "multiply-accumulates of the built engine", "share", share)


def _stream_rows(report: BenchReport) -> Iterator[Row]:
    """Yield the values of scenarios with streams of queries."""
    if report.single_stream is not None:
        yield from _values("single-stream", "total", report.single_stream)
        for stage, latency in report.single_stream.stages.items():
            yield from _latency_rows("single-stream", stage, latency)
    for batch in report.batches:
        yield from _values("batches", str(batch.batch), batch, without=("batch",))
    for loop in report.open_loop:
        yield from _values("open-loop", f"{loop.rate:g} Hz", loop, without=("rate",))
    for streams in report.multi_stream:
        yield from _values("multi-stream", str(streams.streams), streams, without=("streams",))
    for point in report.scaling:
        yield from _values("scaling", str(point), point, without=("threads", "streams", "batch"))


def _on_device_rows(report: BenchReport) -> Iterator[Row]:
    if report.on_device is None:
        return
    for batch in report.on_device.batches:
        launch = "graph" if batch.graph else "layer by layer"
        for part in ("copy_in", "compute", "copy_out", "total"):
            setting = f"{batch.batch}, {launch}, {part.replace('_', ' ')}"
            yield from _latency_rows("on-device", setting, getattr(batch, part))
    if report.on_device.gpu is not None:
        yield from _values("on-device", "GPU", report.on_device.gpu)


def _cold_start_rows(result: ColdStart) -> Iterator[Row]:
    yield from _values("cold-start", "", result)
    for name, size in vars(result.memory).items():
        if size is not None:
            yield Row("cold-start", name.replace("_", " "), "memory", "MB", size)


def _roofline_rows(report: BenchReport) -> Iterator[Row]:
    result = report.roofline
    if result is None:
        return
    for peak in result.peaks:
        unit = "bytes/s" if peak.name == "memory" else "MAC/s"
        yield Row("roofline", peak.name, "peak", unit, peak.per_second)
    yield from _values("roofline", "all layers", result)
    for precision, share in result.macs_by_precision.items():
        yield Row("roofline", precision, "share of all multiply-accumulates", "share", share)
    for kind in result.kinds:
        yield from _values("roofline", f"{kind.kind}, {kind.precision}", kind)
    for layer_share in result.layers:
        yield from _values("roofline", layer_share.layer.name, layer_share.layer)
        yield from _values("roofline", layer_share.layer.name, layer_share)


def _values(
    scenario: str, setting: str, result: Any, *, only: Collection[str] = (), without: Collection[str] = ()
) -> Iterator[Row]:
    """Yield every number, estimate, spread and latency among the fields of a dataclass.

    Fields of other types, such as lists, are left to the caller. A number that is added to a scenario's result is
    written to the CSV without a change here.

    Args:
        scenario: Name of the scenario.
        setting: Setting of the rows.
        result: Dataclass.
        only: Fields to use; empty: all.
        without: Fields to skip.
    """
    for column in fields(result):
        if column.name in without or (only and column.name not in only):
            continue
        value = getattr(result, column.name)
        title, unit = TITLES.get(column.name, (column.name.replace("_", " "), ""))
        if isinstance(value, Distribution):
            yield from _latency_rows(scenario, setting, value)
        elif isinstance(value, Estimate):
            yield _estimate_row(scenario, setting, title, unit or "ms", value)
        elif isinstance(value, Spread):
            for part, number in vars(value).items():
                yield Row(scenario, setting, f"{title}, {part}", unit, number)
        elif isinstance(value, (int, float)):
            yield Row(scenario, setting, title, unit, +value)  # the sign converts True and False to 1 and 0


def _latency_rows(scenario: str, setting: str, latency: Distribution) -> Iterator[Row]:
    for name in ("p50", "p90", "p95", "p99"):
        yield _estimate_row(scenario, setting, name, "ms", getattr(latency, name))
    for name in ("mean", "min", "max"):
        yield Row(scenario, setting, name, "ms", getattr(latency, name))
    yield Row(scenario, setting, "queries", "", latency.count)
    yield Row(scenario, setting, "effective queries", "", latency.effective_count)


def _cell(value: Any) -> Any:
    """Return a setting as one cell."""
    return " ".join(f"{number:g}" for number in value) if isinstance(value, tuple) else value


def _estimate_row(scenario: str, setting: str, figure: str, unit: str, estimate: Estimate) -> Row:
    return Row(scenario, setting, figure, unit, estimate.value, estimate.low, estimate.high)
