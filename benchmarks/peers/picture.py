"""Draw the suite's CSV file as one picture (.svg or .png): a row for each contender, fastest first, with its accuracy.

PYTHONPATH=. .venv/bin/python benchmarks/peers/picture.py results/peers-edge-....csv peers-edge.svg

Rows of fer-edge are coloured.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from fer_edge.evaluation.pictures import picture_file
from fer_edge.html.theme import ACCENT, FAINT, INK, LINE

WIDTH, ROW, FRAME = 7.2, 0.26, 0.9  # inches: width, height of a row, height of title and axis


@dataclass(frozen=True)
class Row:
    """Results of one contender."""

    name: str
    p50: float  # ms
    p90: float  # ms
    accuracy: float | None  # %


def rows_of(file: Path) -> list[Row]:
    """Return the rows of all contenders, fastest first."""
    figures: dict[str, dict[str, float]] = {}
    with file.open(newline="") as lines:
        for line in csv.DictReader(lines):
            figures.setdefault(line["setting"], {})[line["figure"]] = float(line["value"])
    rows = [Row(name, own["p50"], own["p90"], own.get("accuracy")) for name, own in figures.items() if "p50" in own]
    return sorted(rows, key=lambda row: row.p50)


def draw(rows: Sequence[Row]) -> Figure:
    """Draw a dot at the median and a line to the 90th percentile."""
    figure = Figure(figsize=(WIDTH, FRAME + ROW * len(rows)), layout="constrained")
    axes = figure.subplots()
    right = axes.secondary_yaxis("right")
    for y, row in enumerate(rows):
        color = ACCENT if row.name.startswith("fer-edge") else FAINT
        axes.plot([row.p50, row.p90], [y, y], color=color, linewidth=2, alpha=0.5)
        axes.plot(row.p50, y, "o", color=color)
        axes.annotate(f"{row.p50:.2f}", (row.p50, y), (-6, 0), textcoords="offset points", ha="right", va="center")
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds for one face: median, and line to the 90th percentile")
    axes.margins(x=0.12)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    accuracies = ["" if row.accuracy is None else f"{row.accuracy:.1f} %" for row in rows]
    right.set_yticks(range(len(rows)), accuracies)
    if any(accuracies):
        axes.set_title("accuracy, validation split of FERPlus", loc="right", fontsize="medium")
    axes.invert_yaxis()
    axes.grid(axis="x", which="both", color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)
    for spines in (axes.spines, right.spines):
        spines[:].set_visible(False)
    return figure


def main() -> None:
    """Draw the file on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    with rc_context({"font.size": 9, "text.color": INK}):
        picture = picture_file(draw(rows_of(options.csv)), options.picture.suffix)
    options.picture.write_bytes(picture)


if __name__ == "__main__":
    main()
