"""`fer-edge evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from fer_edge.cli.option_checks import check_split, shipped_path
from fer_edge.cli.options import AllowHostCode, Count, Json, Layout, Runner, SkipDamaged, Split, Threads

if TYPE_CHECKING:
    from fer_edge.evaluation.accuracy import AccuracyReport, Outputs
    from fer_edge.evaluation.open_model import OpenedModel
    from fer_edge.evaluation.report import Origin
    from fer_edge.model.runner import PyTorchRunner


def evaluate(
    model: Annotated[
        Path,
        typer.Argument(
            help="Bundle (.fer) or checkpoint (.safetensors), or `edge`, the shipped bundle.",
            callback=shipped_path("bundle"),
        ),
    ],
    data: Annotated[
        Path, typer.Argument(help="Labelled images: FERPlus, RAF-DB, SFEW, a list file, or one folder per label.")
    ],
    split: Split = None,
    layout: Layout = "auto",
    engine: Runner = None,
    threads: Threads = None,
    allow_host_code: AllowHostCode = False,
    limit: Count = None,
    skip_damaged: SkipDamaged = False,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for a page with pictures (report.html), PNG and JSON.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="What a bundle was built from, for the report's picture of features; edge, the shipped one.",
            callback=shipped_path("checkpoint"),
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Measure accuracy on labelled images.

    Example: fer-edge evaluate edge.fer ferplus/ --split valid --report report/ --checkpoint edge.safetensors
    """
    from fer_edge.cli.output import print_json, print_note, print_notes, progress
    from fer_edge.evaluation.accuracy import run_all, score
    from fer_edge.evaluation.dataset import image_set
    from fer_edge.evaluation.open_model import open_model
    from fer_edge.walk import count_reasons

    chosen_split = check_split(split, data, layout)
    if checkpoint is not None and (report is None or model.suffix == ".safetensors"):
        raise typer.BadParameter("--checkpoint is for a bundle's --report; leave it out")
    opened = open_model(model, engine, threads, allow_host_code=allow_host_code)
    if checkpoint is not None and opened.engine == "pytorch":
        raise typer.BadParameter(f"--checkpoint is for a bundle's --report, and {model} is a checkpoint; leave it out")
    images = image_set(data, opened.labels, opened.words, chosen_split, layout).limited(limit)
    print_notes(images.left_out)
    reference = None if report is None else _prepare_report(report, opened, checkpoint, threads)
    with opened.runner:
        with progress("evaluating", len(images)) as advance:
            outputs = run_all(opened.runner, images, advance, skip_damaged=skip_damaged)
        page = None
        if report is not None:
            origin = _origin(model, data, split=split, engine=engine, layout=layout, limit=limit, threads=threads)
            page = _write_report(report, opened, outputs, reference, data, origin)
    found = score(outputs, opened.labels)
    for reason in found.skipped:
        print_note(f"skipped: {reason}")
    if json:
        about = {"model": model, "engine": opened.engine, "precision": opened.precision, "report": page}
        print_json({**about, **vars(found), "left_out": count_reasons(images.left_out)})
    else:
        _print(found, opened, page, len(images.left_out))


def _origin(model: Path, data: Path, **options: object) -> Origin:
    """Command, date and model's hash, for the report."""
    import datetime
    import shlex

    from fer_edge._files import file_sha256
    from fer_edge.evaluation.report import Origin

    words = ["fer-edge", "evaluate", str(model), str(data)]
    for name, value in options.items():
        if value not in (None, "auto"):
            words += [f"--{name}", str(value)]
    return Origin(shlex.join(words), datetime.date.today().isoformat(), file_sha256(model))


def _prepare_report(
    folder: Path, opened: OpenedModel, checkpoint: Path | None, threads: int | None
) -> PyTorchRunner | None:
    """Fail before the long work; what features come from, if there is something."""
    from fer_edge.cli.output import prepare_report
    from fer_edge.evaluation.open_model import open_reference

    prepare_report(folder, "fer_edge.evaluation.report")
    if opened.engine == "pytorch":
        return cast("PyTorchRunner", opened.runner)
    return None if checkpoint is None else open_reference(opened, checkpoint, threads)


def _write_report(
    folder: Path, opened: OpenedModel, outputs: Outputs, reference: PyTorchRunner | None, data: Path, origin: Origin
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
        return write_report(folder, opened, outputs, features, data, origin)


def _print(found: AccuracyReport, opened: OpenedModel, page: Path | None, left_out: int) -> None:
    from fer_edge.cli.output import print_line, print_table

    print_line(
        f"{opened.name} on {opened.engine} {opened.precision}: {found.accuracy:.2f} % of {found.images} images "
        f"(95 %: {found.accuracy_interval})"
    )
    print_line(
        f"mean of classes (balanced accuracy, UAR) {found.mean_class_accuracy:.2f} % "
        f"(95 %: {found.mean_class_interval}), mean F1 {found.mean_f1:.2f} %"
    )
    if found.heads_agree is not None:
        heads = ", ".join(
            f"{head} head {score.accuracy:.2f} %" for head, score in found.heads.items() if head != "mean"
        )
        print_line(
            f"{heads}; they agree on {found.heads_agree:.2f} % of images: {_or_dash(found.accuracy_agreeing, ' %')} "
            f"right there, {_or_dash(found.accuracy_disagreeing, ' %')} elsewhere"
        )
    print_line(
        f"calibration error {found.calibration_error:.3f}; {len(found.skipped)} images skipped, {left_out} left out"
    )
    rows = [
        (
            name,
            one.images,
            _or_dash(one.recall),
            "-" if one.recall_interval is None else f"{one.recall_interval.low:.1f} to {one.recall_interval.high:.1f}",
            _or_dash(one.precision),
            _or_dash(one.f1),
        )
        for name, one in found.classes.items()
    ]
    print_table("labels", ("label", "images", "recall %", "95 %", "precision %", "F1 %"), rows)
    short = (label[:4] for label in opened.labels)  # in full, eight labels do not fit a terminal's 80 columns
    matrix = [(name, *row) for name, row in zip(found.classes, found.confusion, strict=True)]
    print_table("rows: true label; columns: predicted, in the same order", ("label", *short), matrix)
    if page is not None:
        print_line(f"wrote {page}")


def _or_dash(percent: float | None, unit: str = "") -> str:
    return "-" if percent is None else f"{percent:.1f}{unit}"
