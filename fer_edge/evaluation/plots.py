"""Figures of an evaluation report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from fer_edge.choices import Head
from fer_edge.engines.base import Images
from fer_edge.evaluation.accuracy import AccuracyReport
from fer_edge.evaluation.corruption_scores import Robustness
from fer_edge.evaluation.features import FeatureMap
from fer_edge.html.theme import ACCENT, FAINT, INK, LINE, PAPER, SERIES

FEW = 10  # images; the accuracy of a smaller bin is mostly chance
MARKERS = "os^Dv"  # the next marker is used when all colours are used up
SHEET_COLUMNS = 8
LABEL, CAPTION = 16, 26  # longest text, in characters


def confusion(report: AccuracyReport) -> Figure:
    """Draw the confusion matrix: percent of each true label's images, and counts."""
    counts = np.array(report.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    labels = [shorten(label) for label in report.recall]
    side = max(4.0, 1.3 + 0.5 * len(labels))
    figure = Figure(figsize=(side, side * 0.92), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap=LinearSegmentedColormap.from_list("shares", [PAPER, ACCENT]), vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = PAPER if shares[row, column] > 0.55 else INK
            share = 100 * shares[row, column]
            text = f"{share:.0f}" if share >= 0.5 else "<1"
            axes.text(column, row - 0.08, text, ha="center", va="center", color=color)
            axes.text(column, row + 0.28, f"{count}", ha="center", va="center", color=color, fontsize=6.5, alpha=0.8)
    axes.set_xticks(range(len(labels)), labels, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.tick_params(which="minor", length=0)
    axes.grid(which="minor", color=LINE, linewidth=0.8)
    axes.spines[:].set_visible(False)
    return figure


def reliability(report: AccuracyReport, names: Mapping[Head, str], used: Head) -> Figure:
    """Draw the reliability diagram of each head, and the score histogram of the head in use.

    Args:
        report: Scores of the model.
        names: Name of each head in the legend.
        used: Head whose probabilities the model returns.
    """
    figure = Figure(figsize=(5.3, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    upper.plot([0, 1], [0, 1], color=FAINT, linestyle=(0, (4, 3)), linewidth=1, label="perfect calibration")
    for color, marker, (head, score) in zip(SERIES, MARKERS, report.heads.items(), strict=False):
        in_use = head == used
        filled = [bin_ for bin_ in score.reliability if bin_.images]
        x, y = [bin_.confidence for bin_ in filled], [bin_.accuracy for bin_ in filled]
        label = f"{names[head]}, calibration error {score.calibration_error:.3f}"
        upper.plot(x, y, color=color, linewidth=2.2 if in_use else 1.2, label=label, zorder=3 if in_use else 2)
        faces = [color if bin_.images >= FEW else PAPER for bin_ in filled]
        upper.scatter(x, y, s=28 if in_use else 16, color=faces, edgecolors=color, marker=marker, zorder=4)
        if in_use:
            edges = [bin_.low for bin_ in score.reliability] + [1.0]
            shares = [100 * bin_.images / report.images for bin_ in score.reliability]
            lower.stairs(shares, edges, fill=True, color=color, edgecolor=PAPER)
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    upper.grid(linewidth=0.6)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8.5, columnspacing=1.2)
    lower.set(xlabel="score", ylabel="% of images")
    return figure


def feature_map(features: FeatureMap, labels: Sequence[str]) -> Figure:
    """Draw each image as a dot in the colour of its true label, with the label's name at the median position."""
    figure = Figure(figsize=(6.2, 5.6), layout="constrained")
    axes = figure.add_subplot()
    size = np.clip(10_000 / len(features.true), 9, 50)  # square points; fewer dots can be larger
    halo = [patheffects.withStroke(linewidth=3, foreground=PAPER)]
    for index, label in enumerate(map(shorten, labels)):
        x, y = features.points[features.true == index].T
        if not len(x):
            continue
        turn, color = divmod(index, len(SERIES))
        dots = axes.scatter(x, y, size, SERIES[color], marker=MARKERS[turn % len(MARKERS)], linewidths=0)
        dots.set(alpha=0.75, label=f"{label} ({len(x)})", zorder=2 + 1 / len(x))  # rare labels in front
        name = axes.text(float(np.median(x)), float(np.median(y)), label, ha="center", va="center", zorder=4)
        name.set(weight="bold", path_effects=halo)
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, markerscale=2, fontsize=9, handletextpad=0.2)
    return figure


def corruptions(robustness: Robustness, report: AccuracyReport) -> Figure:
    """Draw accuracy and calibration error of each kind of corruption: a bar for the mean, a dot for each strength."""
    kinds = robustness.kinds
    figure = Figure(figsize=(7.2, 1 + 0.3 * len(kinds)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    rows = {kind: row for row, kind in enumerate(kinds)}
    dots = [rows[score.kind] for score in robustness.corruptions]
    accuracy, error = ("accuracy", report.accuracy), ("calibration_error", report.calibration_error)
    for axes, (name, unchanged) in ((left, accuracy), (right, error)):
        axes.barh(list(rows.values()), [getattr(kind, name) for kind in kinds.values()], color=ACCENT, alpha=0.35)
        values = [getattr(score, name) for score in robustness.corruptions]
        axes.scatter(values, dots, s=16, color=ACCENT, zorder=3)
        axes.axvline(unchanged, color=SERIES[1], linewidth=1.2, label="unchanged")
        axes.axvline(getattr(robustness, name), color=INK, linestyle=(0, (4, 3)), linewidth=1.2, label="mean")
        axes.grid(axis="x", linewidth=0.6)
        axes.set_axisbelow(True)
    left.set(xlabel="accuracy, %", xlim=(0, 100), yticks=list(rows.values()), yticklabels=list(kinds))
    left.invert_yaxis()
    right.set(xlabel="calibration error")
    right.set_xlim(left=0)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=9)
    return figure


def shorten(text: str, most: int = LABEL) -> str:
    """Cut a text to the space in a picture; the page has the full text."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def contact_sheet(images: Sequence[Images], captions: Sequence[str]) -> Figure:
    """Draw face crops in rows, each with a caption of up to three lines."""
    columns = min(SHEET_COLUMNS, len(images))
    rows = math.ceil(len(images) / columns)
    lines = 1 + max(caption.count("\n") for caption in captions)
    figure = Figure(figsize=(1.35 * columns, (1.3 + 0.17 * lines) * rows), layout="constrained")
    grid: list[Axes] = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in grid:
        axes.axis("off")
    for axes, image, caption in zip(grid, images, captions, strict=False):
        axes.imshow(image)
        text = "\n".join(shorten(line, CAPTION) for line in caption.splitlines())
        axes.set_title(text, fontsize=7.5, color=INK, loc="left", y=0, va="top", pad=-3)
    return figure
