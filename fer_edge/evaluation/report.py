"""HTML report of an evaluation, with its pictures and figures as files beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fer_edge
from fer_edge._files import write_atomically
from fer_edge.choices import Head
from fer_edge.data.images import Labels
from fer_edge.evaluation import plots
from fer_edge.evaluation.accuracy import AccuracyReport, ClassScore, Outputs, score
from fer_edge.evaluation.corruption_scores import Robustness
from fer_edge.evaluation.examples import (
    Example,
    clearest_disagreements,
    crops,
    examples,
    jpeg,
    most_confident_mistakes,
)
from fer_edge.evaluation.features import SEED, FeatureMap
from fer_edge.evaluation.open_model import ModelInfo
from fer_edge.html.page import page_from_template
from fer_edge.html.picture import Picture, draw
from fer_edge.walk import count_reasons, notes

PAGE, NUMBERS = "report.html", "report.json"
PICTURES = ("confusion.png", "reliability.png", "mistakes.png", "disagreements.png", "features.png", "corruptions.png")
HEADS: dict[Head, str] = {"label": "label head", "text": "text head", "mean": "mean of both"}
MISTAKES_SHOWN, DISAGREEMENTS_SHOWN = 48, 24  # images


@dataclass(frozen=True)
class Sheet:
    """Contact sheet: examples of one kind, of which the page shows the first ones."""

    examples: list[Example]
    shown: list[tuple[Example, bytes]]  # with the face as JPEG
    picture: bytes | None  # faces and captions as PNG; None: no examples


@dataclass(frozen=True)
class ClassRow:
    """Row of a label in the page's table."""

    label: str
    score: ClassScore
    confused_with: str  # most frequent wrong prediction, and its share


@dataclass(frozen=True)
class Origin:
    """Provenance of a report."""

    command: str  # equivalent command line, without the output options
    date: str  # ISO 8601 date
    sha256: str  # of the model file


def write_report(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write the files of a report, and remove the pictures of an earlier one.

    Args:
        folder: Folder for all files.
        files: Result of `report_files`.

    Returns:
        Path of the page.

    Raises:
        FerEdgeError: A file cannot be written. Each file is written atomically, the page last.
    """
    for name in {*PICTURES} - files.keys():
        (folder / name).unlink(missing_ok=True)
    for name, data in files.items():
        write_atomically(folder / name, data)
    return folder / PAGE


def report_files(
    model: ModelInfo,
    outputs: Outputs,
    features: FeatureMap | str,
    root: Path,
    origin: Origin | None = None,
    robustness: Robustness | None = None,
) -> dict[str, bytes]:
    """Return page, figures and pictures by file name, the page last. Equal arguments give equal bytes.

    Args:
        model: Properties of the model.
        outputs: Outputs of the model.
        features: Map of the features, or the reason why there is none.
        root: Folder of the data set; images are named relative to it.
        origin: Command, date and hash to show; None for a report without them.
        robustness: Scores under corruptions; None for a report without them.
    """
    report = score(outputs, model.labels)
    mistakes = _sheet(outputs, most_confident_mistakes(outputs), MISTAKES_SHOWN, _mistake_caption, model.labels, root)
    disagreements = _sheet(
        outputs, clearest_disagreements(outputs), DISAGREEMENTS_SHOWN, _disagreement_caption, model.labels, root
    )
    pictures = _pictures(report, model, features, robustness)
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
        disagreements=disagreements,
        features=features,
        robustness=robustness,
        origin=origin,
        left_out=notes(outputs.images.left_out),
    )
    sheets = {"mistakes.png": mistakes.picture, "disagreements.png": disagreements.picture}
    return {
        **{f"{name}.png": picture.data for name, picture in pictures.items()},
        **{name: picture for name, picture in sheets.items() if picture is not None},
        NUMBERS: _numbers_file(report, model, outputs, (mistakes, disagreements), features, origin, robustness),
        PAGE: page,
    }


def _pictures(
    report: AccuracyReport, model: ModelInfo, features: FeatureMap | str, robustness: Robustness | None
) -> dict[str, Picture]:
    pictures = {
        "confusion": draw("Confusion matrix; the table below has the same numbers.", plots.confusion, report),
        "reliability": draw("Reliability diagram: accuracy over score.", plots.reliability, report, HEADS, model.head),
    }
    if isinstance(features, FeatureMap):
        text = f"Map of the images by the {features.token} token's feature."
        pictures["features"] = draw(text, plots.feature_map, features, model.labels)
    if robustness is not None:
        text = "Accuracy and calibration error under corruptions; the table below has the same numbers."
        pictures["corruptions"] = draw(text, plots.corruptions, robustness, report)
    return pictures


def _sheet(
    outputs: Outputs, indices: Labels, shown: int, caption: Callable[[Example], str], labels: Sequence[str], root: Path
) -> Sheet:
    selected = examples(outputs, indices, labels, root)
    if not selected:
        return Sheet([], [], None)
    faces = crops(outputs.images, indices[:shown])
    captions = [caption(example) for example in selected[:shown]]
    picture = draw("Faces with captions.", plots.contact_sheet, faces, captions).data
    return Sheet(selected, list(zip(selected, map(jpeg, faces), strict=False)), picture)


def _mistake_caption(example: Example) -> str:
    return f"{example.true} → {example.predicted.label}\n{example.predicted.score:.2f}"


def _disagreement_caption(example: Example) -> str:
    heads = (f"{head}: {reading.label} {reading.score:.2f}" for head, reading in example.heads.items())
    return "\n".join((f"true: {example.true}", *heads))


def _class_rows(report: AccuracyReport) -> list[ClassRow]:
    labels, rows = list(report.classes), []
    for index, (label, class_score) in enumerate(report.classes.items()):
        errors = np.array(report.confusion[index])
        errors[index] = 0
        most = int(errors.argmax())
        confused_with = f"{labels[most]} ({100 * errors[most] / class_score.images:.1f} %)" if errors.any() else "-"
        rows.append(ClassRow(label, class_score, confused_with))
    return rows


def _numbers_file(
    report: AccuracyReport,
    model: ModelInfo,
    outputs: Outputs,
    sheets: tuple[Sheet, Sheet],
    features: FeatureMap | str,
    origin: Origin | None,
    robustness: Robustness | None,
) -> bytes:
    mistakes, disagreements = sheets
    if isinstance(features, FeatureMap):
        map_settings: dict[str, Any] = {"token": features.token, "images": len(features.true), "seed": SEED}
    else:
        map_settings = {"left_out": features}
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
        "robustness": None if robustness is None else asdict(robustness),
        "left_out": count_reasons(outputs.images.left_out),
        "mistakes": [asdict(example) for example in mistakes.examples],
        "disagreements": [asdict(example) for example in disagreements.examples],
        "features": map_settings,
    }
    return json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False).encode()
