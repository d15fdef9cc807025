"""One page for one benchmark, with its figures beside it as CSV."""

from __future__ import annotations

from pathlib import Path

import fer_edge
from fer_edge._files import write_atomically
from fer_edge.benchmark import plots
from fer_edge.benchmark.csv_rows import csv_from_records, description, records_from_report
from fer_edge.benchmark.run import BenchReport
from fer_edge.benchmark.scenarios.single_stream import MLPERF_QUERIES, MLPERF_SECONDS, Stamps
from fer_edge.benchmark.tune import described, recommendation
from fer_edge.html.page import page_from_template
from fer_edge.html.picture import Picture, draw

PAGE, FIGURES = "report.html", "figures.csv"


def write_report(folder: Path, report: BenchReport, timelines: dict[str, Stamps]) -> Path:
    """Write page and figures.

    Args:
        folder: For both.
        report: What was measured.
        timelines: Raw times by scenario.

    Returns:
        The page.

    Raises:
        FerEdgeError: A file cannot be written.
    """
    write_atomically(folder / FIGURES, csv_from_records(records_from_report(report), description(report)).encode())
    write_atomically(folder / PAGE, page_from_report(report, timelines))
    return folder / PAGE


def page_from_report(report: BenchReport, timelines: dict[str, Stamps]) -> bytes:
    """The page alone, pictures and all."""
    return page_from_template(
        "benchmark/report.html.jinja",
        report=report,
        version=fer_edge.__version__,
        pictures=_pictures(report, timelines),
        tiles_shown=_tiles(report),
        noisy=[scenario for scenario, noise in report.noise.items() if noise.warnings],
        recommended=recommendation(report.scaling) if report.scaling else None,
        described=described,
        mlperf=f"{MLPERF_QUERIES:,} queries and {MLPERF_SECONDS:.0f} seconds",
    )


def _pictures(report: BenchReport, timelines: dict[str, Stamps]) -> dict[str, Picture]:
    return {**_pictures_of_runs(report, timelines), **_pictures_of_layers(report)}


def _pictures_of_runs(report: BenchReport, timelines: dict[str, Stamps]) -> dict[str, Picture]:
    found = {}
    single, stamps = report.single_stream, timelines.get("single-stream")
    if single is not None:
        latency = single.latency
        found["distribution"] = draw(lambda theme: plots.distribution(theme, latency), "Histogram of latencies.")
    if single is not None and stamps is not None:
        found["timeline"] = draw(lambda theme: plots.timeline(theme, stamps, single), "Latency of each query.")
    if report.batches:
        found["batches"] = draw(lambda theme: plots.batches(theme, report.batches), "Rate and latency over the batch.")
    if report.multi_stream:
        text = "Rate and latency over the number of streams."
        found["streams"] = draw(lambda theme: plots.streams(theme, report.multi_stream), text)
    if report.scaling:
        text = "Images a second over p99, for each combination of threads, streams and batch."
        found["scaling"] = draw(lambda theme: plots.scaling(theme, report.scaling), text)
    if report.open_loop:
        text = "Percentiles of latency at each frame rate, and when frames are late."
        found["open_loop"] = draw(lambda theme: plots.open_loop(theme, report.open_loop), text)
    return found


def _pictures_of_layers(report: BenchReport) -> dict[str, Picture]:
    found = {}
    cold, long, roof = report.cold_start, report.sustained, report.roofline
    if cold is not None:
        found["cold_start"] = draw(lambda theme: plots.cold_start(theme, cold), "Steps to the first result.")
    if long is not None:
        found["sustained"] = draw(lambda theme: plots.sustained(theme, long), "Latency over the long run.")
    if roof is not None and any(share.layer.macs for share in roof.layers):
        found["layers"] = draw(lambda theme: plots.layers(theme, roof), "The slowest layers.")
        found["roofline"] = draw(lambda theme: plots.roofline(theme, roof), "Layers below the machine's roofs.")
    return found


def _tiles(report: BenchReport) -> list[tuple[str, str]]:
    """What people look for first."""
    found = []
    if report.single_stream is not None:
        latency = report.single_stream.latency
        found += [(f"{name[1:]}th percentile", f"{getattr(latency, name).value:.2f} ms") for name in ("p90", "p50")]
    if report.batches:
        best = max(report.batches, key=lambda one: one.images_per_second)
        found.append((f"images a second, batches of {best.batch}", f"{best.images_per_second:,.0f}"))
    if report.open_loop:
        fastest = max(report.open_loop, key=lambda one: one.rate)
        found.append((f"late at {fastest.rate:g} Hz", f"{100 * fastest.late_share.value:.2f} %"))
    if report.cold_start is not None:
        found.append(("first result of a process", f"{report.cold_start.first_result.value:.0f} ms"))
        if report.cold_start.memory.peak is not None:
            found.append(("its peak memory", f"{report.cold_start.memory.peak:.0f} MB"))
    if report.roofline is not None:
        found.append(("of the machine's peak", f"{100 * report.roofline.share_of_peak:.0f} %"))
    return found
