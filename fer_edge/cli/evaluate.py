"""`fer-edge evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from fer_edge.cli.options import AllowHostCode, EngineName, Json, Layout, Limit, SkipDamaged, Split, Threads

if TYPE_CHECKING:
    from fer_edge.evaluation.accuracy import AccuracyReport, Outputs
    from fer_edge.evaluation.runners import OpenedModel
    from fer_edge.model.runner import PyTorchRunner


def evaluate(
    model: Annotated[Path, typer.Argument(help="A bundle (.fer) or a checkpoint (.safetensors).")],
    data: Annotated[Path, typer.Argument(help="FERPlus's layout, or one folder per label.")],
    split: Split = "valid",
    layout: Layout = "auto",
    engine: EngineName = None,
    threads: Threads = None,
    allow_host_code: AllowHostCode = False,
    limit: Limit = None,
    skip_damaged: SkipDamaged = False,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for a page with pictures (report.html), PNG and JSON.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="What a bundle was built from, for the report's picture of features.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure accuracy on labelled images.

    Example: fer-edge evaluate edge.fer ferplus/ --split valid --report report/ --checkpoint edge.safetensors
    """
    from fer_edge.cli.output import err_console, print_json, print_notes, progress
    from fer_edge.evaluation.accuracy import run_all, score
    from fer_edge.evaluation.dataset import image_set
    from fer_edge.evaluation.runners import open_model
    from fer_edge.walk import count_reasons

    if checkpoint is not None and (report is None or model.suffix == ".safetensors"):
        raise typer.BadParameter("--checkpoint is for a bundle's --report; leave it out")
    opened = open_model(model, engine, threads, allow_host_code=allow_host_code)
    images = image_set(data, opened.labels, opened.words, split, layout).limited(limit)  # type: ignore[arg-type]
    print_notes(images.left_out)
    reference = None if report is None else _prepare_report(report, opened, checkpoint, threads)
    with opened.runner:
        with progress("evaluating", len(images)) as advance:
            outputs = run_all(opened.runner, images, advance, skip_damaged=skip_damaged)
        page = None if report is None else _write_report(report, opened, outputs, reference, data)
    found = score(outputs, opened.labels)
    for reason in found.skipped:
        err_console().print(f"skipped: {reason}", soft_wrap=True)
    if json:
        about = {"model": model, "engine": opened.engine, "precision": opened.precision, "report": page}
        print_json({**about, **vars(found), "left_out": count_reasons(images.left_out)})
    else:
        _print(found, opened, page)


def _prepare_report(
    folder: Path, opened: OpenedModel, checkpoint: Path | None, threads: int | None
) -> PyTorchRunner | None:
    """Fail before the long work; what features come from, if there is something."""
    from fer_edge.cli.output import prepare_report
    from fer_edge.evaluation.runners import open_reference

    prepare_report(folder, "fer_edge.evaluation.report")
    if opened.engine == "pytorch":
        return cast("PyTorchRunner", opened.runner)
    return None if checkpoint is None else open_reference(opened, checkpoint, threads)


def _write_report(
    folder: Path, opened: OpenedModel, outputs: Outputs, reference: PyTorchRunner | None, data: Path
) -> Path:
    from fer_edge.cli.output import err_console, progress
    from fer_edge.errors import DataError
    from fer_edge.evaluation.features import MOST, FeatureMap, feature_map
    from fer_edge.evaluation.report import write_report

    features: FeatureMap | str = "a bundle does not give them; name its checkpoint with --checkpoint"
    if reference is not None:
        try:
            with progress("features", min(MOST, len(outputs.images))) as advance:
                features = feature_map(reference, outputs.images, advance)
        except DataError as error:
            features = str(error)
    with err_console().status("drawing"):
        return write_report(folder, opened, outputs, features, data)


def _print(found: AccuracyReport, opened: OpenedModel, page: Path | None) -> None:
    from fer_edge.cli.output import console, print_table

    heads = ", ".join(f"{head} head {score.accuracy:.2f} %" for head, score in found.heads.items() if head != "mean")
    console().print(
        f"{opened.name} on {opened.engine} {opened.precision}: {found.accuracy:.2f} % of {found.images} images "
        f"(mean of classes {found.mean_class_accuracy:.2f} %, {heads})",
        soft_wrap=True,
    )
    if found.heads_agree is not None:
        console().print(
            f"heads agree on {found.heads_agree:.2f} % of images: {_or_dash(found.accuracy_agreeing)} right there, "
            f"{_or_dash(found.accuracy_disagreeing)} elsewhere",
            soft_wrap=True,
        )
    console().print(f"calibration error {found.calibration_error:.3f}; {len(found.skipped)} images skipped")
    rows = [
        (name, "-" if recall is None else f"{recall:.1f}", *row)
        for (name, recall), row in zip(found.recall.items(), found.confusion, strict=True)
    ]
    short = (label[:4] for label in opened.labels)  # in full, eight labels do not fit a terminal's 80 columns
    print_table("rows: true label; columns: predicted, in the same order", ("label", "recall %", *short), rows)
    if page is not None:
        console().print(f"wrote {page}", soft_wrap=True)


def _or_dash(percent: float | None) -> str:
    return "-" if percent is None else f"{percent:.1f} %"
