"""One page for one evaluation, with its pictures and numbers beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fer_edge
from fer_edge._files import write_atomically
from fer_edge.evaluation import plots
from fer_edge.evaluation.accuracy import AccuracyReport, ClassScore, Outputs, score
from fer_edge.evaluation.dataset import Labels
from fer_edge.evaluation.examples import (
    Example,
    clearest_disagreements,
    crops,
    examples,
    jpeg,
    most_confident_mistakes,
)
from fer_edge.evaluation.features import SEED, FeatureMap
from fer_edge.evaluation.open_model import OpenedModel
from fer_edge.html.page import page_from_template
from fer_edge.html.picture import Picture, draw, draw_light
from fer_edge.manifest import Head
from fer_edge.walk import count_reasons, notes

PAGE, NUMBERS = "report.html", "report.json"
PICTURES = ("confusion.png", "reliability.png", "mistakes.png", "disagreements.png", "features.png")
HEADS: dict[Head, str] = {"label": "label head", "text": "text head", "mean": "mean of both"}
MISTAKES_SHOWN, DISAGREEMENTS_SHOWN = 48, 24


@dataclass(frozen=True)
class Sheet:
    """Examples of one kind; the first ones are shown."""

    examples: list[Example]
    shown: list[tuple[Example, bytes]]  # with the face, a JPEG file
    picture: bytes | None  # the faces and their captions, a PNG file; None: there are none


@dataclass(frozen=True)
class ClassRow:
    """One label in the page's table."""

    label: str
    score: ClassScore
    taken_for: str  # the most frequent mistake


@dataclass(frozen=True)
class Origin:
    """How a report came about."""

    command: str  # that was run, without what only says where the report goes
    date: str  # of the day, 2026-11-26
    sha256: str  # of the model's file


def write_report(
    folder: Path,
    model: OpenedModel,
    outputs: Outputs,
    features: FeatureMap | str,
    root: Path,
    origin: Origin | None = None,
) -> Path:
    """Write page, numbers and pictures; those of an earlier report are replaced.

    Args:
        folder: For all files.
        model: What was evaluated.
        outputs: What it gave.
        features: A map of the features, or why there is none.
        root: The data set's folder; files are named below it.
        origin: Command, date and model's hash to show; nothing of them by default.

    Returns:
        The page.

    Raises:
        FerEdgeError: A file cannot be written. Each file is whole or not there; the page comes last.
    """
    files = report_files(model, outputs, features, root, origin)
    for name in {*PICTURES} - files.keys():
        (folder / name).unlink(missing_ok=True)
    for name, data in files.items():
        write_atomically(folder / name, data)
    return folder / PAGE


def report_files(
    model: OpenedModel, outputs: Outputs, features: FeatureMap | str, root: Path, origin: Origin | None = None
) -> dict[str, bytes]:
    """Every file of a report by name, the page last; arguments as of `write_report`. Same arguments, same bytes."""
    report = score(outputs, model.labels)
    mistakes = _sheet(outputs, most_confident_mistakes(outputs), MISTAKES_SHOWN, _mistake_caption, model.labels, root)
    disputed = _sheet(
        outputs, clearest_disagreements(outputs), DISAGREEMENTS_SHOWN, _disagreement_caption, model.labels, root
    )
    pictures = _pictures(report, model, features)
    page = page_from_template(
        "evaluation/report.html.jinja",
        model=model,
        data=outputs.images.source,
        version=fer_edge.__version__,
        report=report,
        heads=HEADS,
        few=plots.FEW,
        classes=_class_rows(report),
        pictures=pictures,
        mistakes=mistakes,
        disputed=disputed,
        features=features,
        origin=origin,
        left_out=notes(outputs.images.left_out),
    )
    sheets = {"mistakes.png": mistakes.picture, "disagreements.png": disputed.picture}
    return {
        **{f"{name}.png": picture.light for name, picture in pictures.items()},
        **{name: picture for name, picture in sheets.items() if picture is not None},
        NUMBERS: _numbers(report, model, outputs, (mistakes, disputed), features, origin),
        PAGE: page,
    }


def _pictures(report: AccuracyReport, model: OpenedModel, features: FeatureMap | str) -> dict[str, Picture]:
    pictures = {
        "confusion": draw(
            lambda theme: plots.confusion(theme, report), "Confusion matrix; the table below has the same numbers."
        ),
        "reliability": draw(
            lambda theme: plots.reliability(theme, report, HEADS, model.head), "Share that is right over the score."
        ),
    }
    if isinstance(features, FeatureMap):
        pictures["features"] = draw(
            lambda theme: plots.feature_map(theme, features, model.labels),
            f"Images as dots, laid out by the {features.token} token's feature.",
        )
    return pictures


def _sheet(
    outputs: Outputs, indices: Labels, shown: int, caption: Callable[[Example], str], labels: Sequence[str], root: Path
) -> Sheet:
    found = examples(outputs, indices, labels, root)
    if not found:
        return Sheet([], [], None)
    faces = crops(outputs.images, indices[:shown])
    captions = [caption(example) for example in found[:shown]]
    picture = draw_light(lambda theme: plots.contact_sheet(theme, faces, captions))
    return Sheet(found, list(zip(found, map(jpeg, faces), strict=False)), picture)


def _mistake_caption(example: Example) -> str:
    return f"{example.true} → {example.predicted.label}\n{example.predicted.score:.2f}"


def _disagreement_caption(example: Example) -> str:
    heads = (f"{head}: {reading.label} {reading.score:.2f}" for head, reading in example.heads.items())
    return "\n".join((f"true: {example.true}", *heads))


def _class_rows(report: AccuracyReport) -> list[ClassRow]:
    labels, rows = list(report.classes), []
    for index, (label, figures) in enumerate(report.classes.items()):
        counts = np.array(report.confusion[index])
        counts[index] = 0
        most = int(counts.argmax())
        taken_for = f"{labels[most]} ({100 * counts[most] / figures.images:.1f} %)" if counts.any() else "-"
        rows.append(ClassRow(label, figures, taken_for))
    return rows


def _numbers(
    report: AccuracyReport,
    model: OpenedModel,
    outputs: Outputs,
    sheets: tuple[Sheet, Sheet],
    features: FeatureMap | str,
    origin: Origin | None,
) -> bytes:
    mistakes, disputed = sheets
    if isinstance(features, FeatureMap):
        layout: dict[str, Any] = {"token": features.token, "images": len(features.true), "seed": SEED}
    else:
        layout = {"left_out": features}
    numbers = {
        "fer_edge": fer_edge.__version__,
        "model": model.name,
        "checkpoint_sha256": model.checkpoint,
        "engine": model.engine,
        "precision": model.precision,
        "head": model.head,
        "data": outputs.images.source,
        "labels": model.labels,
        "origin": None if origin is None else asdict(origin),
        **asdict(report),
        "left_out": count_reasons(outputs.images.left_out),
        "mistakes": [asdict(example) for example in mistakes.examples],
        "disagreements": [asdict(example) for example in disputed.examples],
        "features": layout,
    }
    return json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False).encode()
