"""Figures of an evaluation, each in the colours of a theme."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from fer_edge.engines.base import Images
from fer_edge.evaluation.accuracy import AccuracyReport
from fer_edge.evaluation.features import FeatureMap
from fer_edge.html.theme import Theme
from fer_edge.manifest import Head

FEW = 10  # images in a bin, below which its accuracy is mostly chance
MARKERS = "os^Dv"  # one for each round through the colours
SHEET_COLUMNS = 8
LABEL, CAPTION = 16, 26  # characters that have room


def confusion(theme: Theme, report: AccuracyReport) -> Figure:
    """Percent of each true label's images, with counts."""
    counts = np.array(report.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    labels = [shortened(label) for label in report.recall]
    side = max(4.0, 1.3 + 0.5 * len(labels))
    figure = Figure(figsize=(side, side * 0.92), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap=LinearSegmentedColormap.from_list("shares", [theme.paper, theme.accent]), vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = theme.paper if shares[row, column] > 0.55 else theme.ink
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
    axes.grid(which="minor", color=theme.line, linewidth=0.8)
    axes.spines[:].set_visible(False)
    return figure


def reliability(theme: Theme, report: AccuracyReport, names: Mapping[Head, str], used: Head) -> Figure:
    """Accuracy over score for each head, and how many images have the scores of the one that decides."""
    figure = Figure(figsize=(5.3, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    upper.plot([0, 1], [0, 1], color=theme.faint, linestyle=(0, (4, 3)), linewidth=1, label="right as often as it says")
    for color, marker, (head, score) in zip(theme.series, MARKERS, report.heads.items(), strict=False):
        decides = head == used
        filled = [one for one in score.reliability if one.images]
        x, y = [one.confidence for one in filled], [one.accuracy for one in filled]
        label = f"{names[head]}, calibration error {score.calibration_error:.3f}"
        upper.plot(x, y, color=color, linewidth=2.2 if decides else 1.2, label=label, zorder=3 if decides else 2)
        faces = [color if one.images >= FEW else theme.paper for one in filled]
        upper.scatter(x, y, s=28 if decides else 16, color=faces, edgecolors=color, marker=marker, zorder=4)
        if decides:
            edges = [one.low for one in score.reliability] + [1.0]
            shares = [100 * one.images / report.images for one in score.reliability]
            lower.stairs(shares, edges, fill=True, color=color, edgecolor=theme.paper)
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share that is right")
    upper.grid(linewidth=0.6)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8.5, columnspacing=1.2)
    lower.set(xlabel="score", ylabel="% of images")
    return figure


def feature_map(theme: Theme, found: FeatureMap, labels: Sequence[str]) -> Figure:
    """Each image a dot in the colour of its true label; names stand at the middle of their dots."""
    figure = Figure(figsize=(6.2, 5.6), layout="constrained")
    axes = figure.add_subplot()
    size = np.clip(10_000 / len(found.true), 9, 50)  # square points; fewer dots have more room
    halo = [patheffects.withStroke(linewidth=3, foreground=theme.paper)]
    for index, label in enumerate(map(shortened, labels)):
        x, y = found.points[found.true == index].T
        if not len(x):
            continue
        turn, color = divmod(index, len(theme.series))
        dots = axes.scatter(x, y, size, theme.series[color], marker=MARKERS[turn % len(MARKERS)], linewidths=0)
        dots.set(alpha=0.75, label=f"{label} ({len(x)})", zorder=2 + 1 / len(x))  # rare labels lie on top
        name = axes.text(float(np.median(x)), float(np.median(y)), label, ha="center", va="center", zorder=4)
        name.set(weight="bold", path_effects=halo)
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, markerscale=2, fontsize=9, handletextpad=0.2)
    return figure


def shortened(text: str, most: int = LABEL) -> str:
    """Text that has room in a picture; the page has the whole."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def contact_sheet(theme: Theme, images: Sequence[Images], captions: Sequence[str]) -> Figure:
    """Faces in rows, each with a caption of up to three lines."""
    columns = min(SHEET_COLUMNS, len(images))
    rows = math.ceil(len(images) / columns)
    lines = 1 + max(caption.count("\n") for caption in captions)
    figure = Figure(figsize=(1.35 * columns, (1.3 + 0.17 * lines) * rows), layout="constrained")
    grid: list[Axes] = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in grid:
        axes.axis("off")
    for axes, image, caption in zip(grid, images, captions, strict=False):
        axes.imshow(image)
        text = "\n".join(shortened(line, CAPTION) for line in caption.splitlines())
        axes.set_title(text, fontsize=7.5, color=theme.ink, loc="left", y=0, va="top", pad=-3)
    return figure
