"""A report as flat records: one figure a row, with its interval and the whole environment, for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from fer_edge.benchmark.compare import Comparison
from fer_edge.benchmark.gpu import Spread
from fer_edge.benchmark.run import BenchReport
from fer_edge.benchmark.scenarios.cold_start import ColdStart
from fer_edge.benchmark.statistics import Distribution, Estimate

# Name and unit of figures whose field says too little; of others the field's name will do, and they count something.
NAMED: dict[str, tuple[str, str]] = {
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
    "slowest_stream": ("slowest stream to the mean", ""),
    "drift": ("drift", "% a minute"),
    "slowest_to_fastest": ("slowest to fastest part", ""),
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
    "first_start": ("first start, kernels compiled", "ms"),
    "milliseconds": ("time", "ms"),
    "at_peak": ("time at the peaks", "ms"),
    "microseconds": ("time", "us"),
    "macs": ("multiply-accumulates", ""),
    "macs_per_second": ("rate", "MAC/s"),
    "macs_per_byte": ("multiply-accumulates per byte", ""),
    "peak": ("its peak", "MAC/s"),
    "share_of_time": ("share of time", "share"),
    "share_of_peak": ("share of peak", "share"),
    "share_of_roof": ("share of roof", "share"),
    "load_before": ("load before", ""),
    "others_share": ("other processes", "share"),
    "stolen_share": ("taken by the hypervisor", "share"),
    "preemptions": ("preemptions", "1/s"),
}


@dataclass(frozen=True)
class Record:
    """One figure."""

    scenario: str
    setting: str  # batch, rate, streams or layer that it is for
    figure: str
    unit: str
    value: float
    low: float | None = None  # bounds of the interval of 95 % confidence
    high: float | None = None
    warnings: str = ""  # what else the machine did while the scenario was measured, where that makes it doubtful


def csv_from_records(records: Iterable[Record], described: dict[str, Any]) -> str:
    """Rows of all records, each followed by what describes the run."""
    buffer = io.StringIO()
    names = [column.name for column in fields(Record)]
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*names, *described])
    for record in records:
        values = [getattr(record, name) for name in names]
        writer.writerow([*("" if value is None else value for value in values), *described.values()])
    return buffer.getvalue()


def description(report: BenchReport) -> dict[str, Any]:
    """What describes a run: model, settings and environment."""
    gpu = None if report.on_device is None else report.on_device.gpu
    held = {} if gpu is None else {"GPU clocks held down by": " ".join(gpu.held_down_by) or "nothing"}
    return {
        "bundle": report.bundle,
        "bundle SHA-256": report.bundle_sha256,
        "engine": report.engine,
        "precision": report.precision,
        "threads": report.threads or "engine's default",
        "tuned": report.tuned,
        **{f"asked {name}": _in_words(value) for name, value in vars(report.asked).items()},
        "left out": " | ".join(f"{name}: {reason}" for name, reason in report.left_out.items()),
        "failed": " | ".join(f"{name}: {reason}" for name, reason in report.failed.items()),
        **({} if gpu is None else {"GPU": gpu.name, "GPU driver": gpu.driver}),
        **held,
        **report.environment,
    }


def records_from_report(report: BenchReport) -> list[Record]:
    """Every figure of a report, but for the bins of histograms."""
    found = [*_figures("load", "", report, only=("load_ms", "memory_mb", "peak_memory_mb")), *_bundle(report)]
    found += _streams(report)
    found += _on_device(report)
    if report.cold_start is not None:
        found += _cold_start(report.cold_start)
    if report.sustained is not None:
        found += _figures("sustained", "", report.sustained)
        for window in report.sustained.windows:
            found += _figures("sustained", f"{window.start:g} s", window, without=("start",))
    if report.parity is not None:
        found += [*_figures("parity", "", report.parity), *_figures("parity", "gate", report.parity.gate)]
        found += [record for stage in report.parity.stages for record in _figures("parity", stage.name, stage)]
    found += _roofline(report)
    warnings = {name: "; ".join(noise.warnings) for name, noise in report.noise.items()}
    found = [replace(record, warnings=warnings.get(record.scenario, "")) for record in found]
    return [*found, *(each for name, noise in report.noise.items() for each in _figures(name, "noise", noise))]


def records_from_comparisons(comparisons: Sequence[Comparison]) -> list[Record]:
    """Every figure of a comparison."""
    found: list[Record] = []
    for one in comparisons:
        found += _latency("compare", one.name, one.latency)
        found.append(_estimate("compare", one.name, "ratio of p50", "", one.p50_ratio))
        found.append(_estimate("compare", one.name, "ratio of p90", "", one.p90_ratio))
    return found


def _bundle(report: BenchReport) -> Iterator[Record]:
    for operator, types in report.operators.items():
        for element, count in types.items():
            yield Record("bundle", f"{operator} {element}", "nodes", "", count)
    for name, share in report.proven.items():
        yield Record("bundle", name, "multiplications when it was built", "share", share)


def _streams(report: BenchReport) -> Iterator[Record]:
    if report.single_stream is not None:
        yield from _figures("single-stream", "total", report.single_stream)
        for stage, latency in report.single_stream.stages.items():
            yield from _latency("single-stream", stage, latency)
    for batch in report.batches:
        yield from _figures("batches", str(batch.batch), batch, without=("batch",))
    for loop in report.open_loop:
        yield from _figures("open-loop", f"{loop.rate:g} Hz", loop, without=("rate",))
    for streams in report.multi_stream:
        yield from _figures("multi-stream", str(streams.streams), streams, without=("streams",))
    for point in report.scaling:
        setting = f"threads {point.threads}, streams {point.streams}, batch {point.batch}"
        yield from _figures("scaling", setting, point, without=("threads", "streams", "batch"))


def _on_device(report: BenchReport) -> Iterator[Record]:
    if report.on_device is None:
        return
    for each in report.on_device.batches:
        launch = "graph" if each.graph else "layer by layer"
        for part in ("copy_in", "compute", "copy_out", "total"):
            yield from _latency("on-device", f"{each.batch}, {launch}, {part.replace('_', ' ')}", getattr(each, part))
    if report.on_device.gpu is not None:
        yield from _figures("on-device", "GPU", report.on_device.gpu)


def _cold_start(found: ColdStart) -> Iterator[Record]:
    yield from _figures("cold-start", "", found)
    for name, size in vars(found.memory).items():
        if size is not None:
            yield Record("cold-start", name.replace("_", " "), "memory", "MB", size)


def _roofline(report: BenchReport) -> Iterator[Record]:
    found = report.roofline
    if found is None:
        return
    for peak in found.peaks:
        unit = "bytes/s" if peak.name == "memory" else "MAC/s"
        yield Record("roofline", peak.name, "peak", unit, peak.per_second)
    yield from _figures("roofline", "all layers", found)
    for precision, share in found.macs_by_precision.items():
        yield Record("roofline", precision, "multiply-accumulates of all", "share", share)
    for kind in found.kinds:
        yield from _figures("roofline", f"{kind.kind}, {kind.precision}", kind)
    for each in found.layers:
        yield from _figures("roofline", each.layer.name, each.layer)
        yield from _figures("roofline", each.layer.name, each)


def _figures(
    scenario: str, setting: str, found: Any, *, only: Collection[str] = (), without: Collection[str] = ()
) -> Iterator[Record]:
    """Every number, estimate, spread and latency among a dataclass's fields; its lists and parts are the caller's.

    So a figure that a scenario learns to measure is in the table without a word here.
    """
    for column in fields(found):
        if column.name in without or (only and column.name not in only):
            continue
        value = getattr(found, column.name)
        name, unit = NAMED.get(column.name, (column.name.replace("_", " "), ""))
        if isinstance(value, Distribution):
            yield from _latency(scenario, setting, value)
        elif isinstance(value, Estimate):
            yield _estimate(scenario, setting, name, unit or "ms", value)
        elif isinstance(value, Spread):
            for part, number in vars(value).items():
                yield Record(scenario, setting, f"{name}, {part}", unit, number)
        elif isinstance(value, (int, float)):
            yield Record(scenario, setting, name, unit, +value)  # the sign makes yes and no 1 and 0


def _latency(scenario: str, setting: str, latency: Distribution) -> Iterator[Record]:
    for name in ("p50", "p90", "p95", "p99"):
        yield _estimate(scenario, setting, name, "ms", getattr(latency, name))
    for name in ("mean", "min", "max"):
        yield Record(scenario, setting, name, "ms", getattr(latency, name))
    yield Record(scenario, setting, "queries", "", latency.count)
    yield Record(scenario, setting, "effective queries", "", latency.effective_count)


def _in_words(value: Any) -> Any:
    """A setting for one cell."""
    return " ".join(f"{each:g}" for each in value) if isinstance(value, tuple) else value


def _estimate(scenario: str, setting: str, figure: str, unit: str, estimate: Estimate) -> Record:
    return Record(scenario, setting, figure, unit, estimate.value, estimate.low, estimate.high)
