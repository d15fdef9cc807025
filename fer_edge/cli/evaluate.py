"""`fer-edge evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli.options import EngineName, Json, Limit, SkipDamaged, Split, Threads


def evaluate(
    model: Annotated[Path, typer.Argument(help="A bundle (.fer) or a checkpoint (.safetensors).")],
    data: Annotated[Path, typer.Argument(help="FERPlus's layout, or one folder per label.")],
    split: Split = "valid",
    engine: EngineName = None,
    threads: Threads = None,
    limit: Limit = None,
    skip_damaged: SkipDamaged = False,
    json: Json = False,
) -> None:
    """Measure accuracy on labelled images.

    Example: fer-edge evaluate edge.fer ferplus/ --split valid
    """
    from fer_edge.cli.output import console, err_console, print_json, print_table, progress
    from fer_edge.evaluation import accuracy
    from fer_edge.evaluation.dataset import image_set
    from fer_edge.evaluation.runners import open_model

    opened = open_model(model, engine, threads)
    images = image_set(data, opened.labels, opened.words, split).limited(limit)  # type: ignore[arg-type]
    with opened.runner, progress("evaluating", len(images)) as advance:
        report = accuracy.evaluate(opened.runner, images, opened.labels, advance, skip_damaged=skip_damaged)
    for reason in report.skipped:
        err_console().print(f"skipped: {reason}", soft_wrap=True)
    if json:
        print_json({"model": model, "engine": opened.engine, "precision": opened.precision, **vars(report)})
        return
    console().print(
        f"{opened.name} on {opened.engine} {opened.precision}: {report.accuracy:.2f} % of {report.images} images "
        f"(mean of classes {report.mean_class_accuracy:.2f} %, label head {report.label_head_accuracy:.2f} %, "
        f"text head {_or_dash(report.text_head_accuracy, 2)})",
        soft_wrap=True,
    )
    if report.heads_agree is not None:
        console().print(
            f"heads agree on {report.heads_agree:.1f} % of images: {_or_dash(report.accuracy_agreeing)} right there, "
            f"{_or_dash(report.accuracy_disagreeing)} elsewhere",
            soft_wrap=True,
        )
    console().print(f"calibration error {report.calibration_error:.3f}; {len(report.skipped)} images skipped")
    rows = [
        (name, "-" if recall is None else f"{recall:.1f}", *row)
        for (name, recall), row in zip(report.recall.items(), report.confusion, strict=True)
    ]
    print_table("rows: true label; columns: predicted", ("label", "recall %", *opened.labels), rows)


def _or_dash(percent: float | None, digits: int = 1) -> str:
    return "-" if percent is None else f"{percent:.{digits}f} %"
