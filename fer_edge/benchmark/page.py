"""HTML page of a benchmark with plots, and its values as CSV."""

from __future__ import annotations

from pathlib import Path

import fer_edge
from fer_edge._files import write_atomically
from fer_edge.benchmark.report import BenchReport
from fer_edge.benchmark.rows import csv_from_report
from fer_edge.benchmark.scenario import Stamps
from fer_edge.html.page import page_from_template
from fer_edge.html.picture import draw

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
    write_atomically(folder / FIGURES, csv_from_report(report))
    write_atomically(folder / PAGE, page_from_report(report, timelines))
    return folder / PAGE


def page_from_report(report: BenchReport, timelines: dict[str, Stamps]) -> bytes:
    """Return the page with its plots as one file."""
    results = report.results_by_scenario()
    sections = [
        {
            "scenario": scenario,
            "notes": scenario.notes(result),
            "pictures": [draw(plot.text, plot.draw) for plot in scenario.plots(result, timelines.get(scenario.name))],
            "tables": scenario.page_tables(result),
        }
        for scenario, result in results
    ]
    return page_from_template(
        "benchmark/report.html.jinja",
        report=report,
        version=fer_edge.__version__,
        sections=sections,
        tiles_shown=[tile for scenario, result in results for tile in scenario.tiles(result)],
        noisy=[scenario for scenario, noise in report.noise.items() if noise.warnings],
    )
