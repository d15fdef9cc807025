"""A report as flat records: one figure a row, with its interval and the whole environment, for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from fer_edge.bench.contenders import Comparison
from fer_edge.bench.run import BenchReport
from fer_edge.bench.scenarios.cold_start import ColdStart
from fer_edge.bench.statistics import Distribution, Estimate


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
    """What describes a run: model, settings, noise and environment."""
    noise = {f"noise {name}": value for name, value in vars(report.noise).items()}
    model = {"bundle": report.bundle, "engine": report.engine, "precision": report.precision}
    return {
        **model,
        "threads": report.threads or "engine's default",
        "tuned": report.tuned,
        **noise,
        **report.environment,
    }


def records_from_report(report: BenchReport) -> list[Record]:
    """Every figure of a report."""
    found = [Record("load", "", "load", "ms", report.load_ms)]
    if report.peak_memory_mb is not None:
        found.append(Record("load", "", "peak memory of the benchmark", "MB", report.peak_memory_mb))
    found += _streams(report)
    if report.cold_start is not None:
        found += _cold_start(report.cold_start)
    if report.sustained is not None:
        found.append(_estimate("sustained", "", "drift", "% a minute", report.sustained.drift))
        found += [
            Record("sustained", f"{window.start:.0f} s", "p50", "ms", window.p50) for window in report.sustained.windows
        ]
    if report.parity is not None:
        found += [Record("parity", stage.name, "passed", "", float(stage.passed)) for stage in report.parity.stages]
    return [*found, *_roofline(report)]


def records_from_comparisons(comparisons: Sequence[Comparison]) -> list[Record]:
    """Every figure of a comparison."""
    found: list[Record] = []
    for one in comparisons:
        found += _latency("compare", one.name, one.latency)
        found.append(_estimate("compare", one.name, "ratio of p50", "", one.p50_ratio))
        found.append(_estimate("compare", one.name, "ratio of p90", "", one.p90_ratio))
    return found


def _streams(report: BenchReport) -> Iterator[Record]:
    if report.single_stream is not None:
        yield from _latency("single-stream", "total", report.single_stream.latency)
        for stage, latency in report.single_stream.stages.items():
            yield from _latency("single-stream", stage, latency)
    for batch in report.batches:
        yield from _latency("batches", str(batch.batch), batch.latency)
        yield Record("batches", str(batch.batch), "rate", "images/s", batch.images_per_second)
    for each in () if report.on_device is None else report.on_device.batches:
        launch = "graph" if each.graph else "layer by layer"
        for part in ("copy_in", "compute", "copy_out", "total"):
            yield from _latency("on-device", f"{each.batch}, {launch}, {part.replace('_', ' ')}", getattr(each, part))
    for loop in report.open_loop:
        yield from _latency("open-loop", f"{loop.rate:g} Hz", loop.latency)
        yield _estimate("open-loop", f"{loop.rate:g} Hz", "late", "share", loop.late_share)
    for streams in report.multi_stream:
        yield from _latency("multi-stream", str(streams.streams), streams.latency)
        yield Record("multi-stream", str(streams.streams), "rate", "images/s", streams.images_per_second)
    for point in report.scaling:
        setting = f"threads {point.threads}, streams {point.streams}, batch {point.batch}"
        yield from _latency("scaling", setting, point.latency)
        yield Record("scaling", setting, "rate", "images/s", point.images_per_second)


def _cold_start(found: ColdStart) -> Iterator[Record]:
    for column in fields(found):
        value = getattr(found, column.name)
        if isinstance(value, Estimate):
            yield _estimate("cold-start", "", column.name.replace("_", " "), "ms", value)
    yield Record("cold-start", "", "own imports", "ms", found.own_imports)
    for name, size in vars(found.memory).items():
        if size is not None:
            yield Record("cold-start", name.replace("_", " "), "memory", "MB", size)


def _roofline(report: BenchReport) -> Iterator[Record]:
    if report.roofline is None:
        return
    for peak in report.roofline.peaks:
        unit = "bytes/s" if peak.name == "memory" else "MAC/s"
        yield Record("roofline", peak.name, "peak", unit, peak.per_second)
    yield Record("roofline", "all layers", "share of peak", "share", report.roofline.share_of_peak)
    for each in report.roofline.layers:
        yield Record("roofline", each.layer.name, "time", "us", each.layer.microseconds)
        if each.share_of_peak is not None:
            yield Record("roofline", each.layer.name, "share of peak", "share", each.share_of_peak)


def _latency(scenario: str, setting: str, latency: Distribution) -> Iterator[Record]:
    for name in ("p50", "p90", "p95", "p99"):
        yield _estimate(scenario, setting, name, "ms", getattr(latency, name))
    for name in ("mean", "min", "max"):
        yield Record(scenario, setting, name, "ms", getattr(latency, name))
    yield Record(scenario, setting, "queries", "", latency.count)


def _estimate(scenario: str, setting: str, figure: str, unit: str, estimate: Estimate) -> Record:
    return Record(scenario, setting, figure, unit, estimate.value, estimate.low, estimate.high)
