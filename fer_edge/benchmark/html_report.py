"""HTML page of a benchmark with plots, and its values as CSV."""

from __future__ import annotations

from pathlib import Path

import fer_edge
from fer_edge._files import write_atomically
from fer_edge.benchmark import plots
from fer_edge.benchmark.bench_report import BenchReport
from fer_edge.benchmark.csv_rows import csv_from_rows, rows_from_report, run_columns
from fer_edge.benchmark.scenarios.scaling import recommend
from fer_edge.benchmark.scenarios.single_stream import MLPERF_QUERIES, MLPERF_SECONDS, Stamps
from fer_edge.html.page import page_from_template
from fer_edge.html.picture import Picture, draw

PAGE, FIGURES = "report.html", "figures.csv"


def write_report(folder: Path, report: BenchReport, timelines: dict[str, Stamps]) -> Path:
    """Write the page and the CSV file.

    Args:
        folder: Folder to write into.
        report: Result of the benchmark.
        timelines: Stamps by scenario.

    Returns:
        Path of the page.

    Raises:
        FerEdgeError: File that cannot be written.
    """
    write_atomically(folder / FIGURES, csv_from_rows(rows_from_report(report), run_columns(report)).encode())
    write_atomically(folder / PAGE, page_from_report(report, timelines))
    return folder / PAGE


def page_from_report(report: BenchReport, timelines: dict[str, Stamps]) -> bytes:
    """Return the page with its plots as one file."""
    return page_from_template(
        "benchmark/report.html.jinja",
        report=report,
        version=fer_edge.__version__,
        pictures={**_stream_plots(report, timelines), **_other_plots(report)},
        tiles_shown=_tiles(report),
        noisy=[scenario for scenario, noise in report.noise.items() if noise.warnings],
        recommended=recommend(report.scaling) if report.scaling else None,
        mlperf=f"{MLPERF_QUERIES:,} queries and {MLPERF_SECONDS:.0f} seconds",
    )


def _stream_plots(report: BenchReport, timelines: dict[str, Stamps]) -> dict[str, Picture]:
    """Draw the scenarios with streams of queries."""
    drawn = {}
    single, stamps = report.single_stream, timelines.get("single-stream")
    if single is not None:
        drawn["distribution"] = draw("Histogram of latencies.", plots.draw_distribution, single.latency)
    if single is not None and stamps is not None:
        drawn["timeline"] = draw("Latency of each query.", plots.draw_timeline, stamps, single)
    if report.batches:
        text = "Rate and latency over the batch size."
        drawn["batches"] = draw(text, plots.draw_batches, report.batches)
    if report.multi_stream:
        text = "Rate and latency over the number of streams."
        drawn["streams"] = draw(text, plots.draw_streams, report.multi_stream)
    if report.scaling:
        text = "Images per second over p99 for each combination of threads, streams and batch size."
        drawn["scaling"] = draw(text, plots.draw_scaling, report.scaling)
    if report.open_loop:
        text = "Percentiles of latency at each frame rate, and the limit of late frames."
        drawn["open_loop"] = draw(text, plots.draw_open_loop, report.open_loop)
    return drawn


def _other_plots(report: BenchReport) -> dict[str, Picture]:
    """Draw cold start, sustained run and layers."""
    drawn = {}
    cold, sustained, roof = report.cold_start, report.sustained, report.roofline
    if cold is not None:
        drawn["cold_start"] = draw("Steps to the first result.", plots.draw_cold_start, cold)
    if sustained is not None:
        drawn["sustained"] = draw("Latency over the sustained run.", plots.draw_sustained, sustained)
    if roof is not None and any(share.layer.macs for share in roof.layers):
        drawn["layers"] = draw("The slowest layers.", plots.draw_layers, roof)
        drawn["roofline"] = draw("Rates of layers and roofs of the machine.", plots.draw_roofline, roof)
    return drawn


def _tiles(report: BenchReport) -> list[tuple[str, str]]:
    """Return the most important values at the top of the page, as title and text."""
    tiles = []
    if report.single_stream is not None:
        latency = report.single_stream.latency
        tiles += [(f"{name[1:]}th percentile", f"{getattr(latency, name).value:.2f} ms") for name in ("p90", "p50")]
    if report.batches:
        best = max(report.batches, key=lambda batch: batch.images_per_second)
        tiles.append((f"images per second, batches of {best.batch}", f"{best.images_per_second:,.0f}"))
    if report.open_loop:
        fastest = max(report.open_loop, key=lambda loop: loop.rate)
        tiles.append((f"late at {fastest.rate:g} Hz", f"{100 * fastest.late_share.value:.2f} %"))
    if report.cold_start is not None:
        tiles.append(("first result of a process", f"{report.cold_start.first_result.value:.0f} ms"))
        if report.cold_start.memory.peak is not None:
            tiles.append(("peak memory of that process", f"{report.cold_start.memory.peak:.0f} MB"))
    if report.roofline is not None:
        tiles.append(("of the machine's peak", f"{100 * report.roofline.share_of_peak:.0f} %"))
    return tiles
