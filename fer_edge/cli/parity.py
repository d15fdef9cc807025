"""`fer-edge parity`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from fer_edge._files import check_output_files
from fer_edge.cli import options
from fer_edge.cli.option_checks import not_negative, refuse_given, shipped_path

if TYPE_CHECKING:
    from fer_edge.evaluation.parity import ParityReport
    from fer_edge.evaluation.tensors import TensorReport

ReferenceBundle = Annotated[
    Path | None,
    typer.Option(
        "--reference-bundle",
        help="Bundle to compare tensors with, in place of `--checkpoint`.",
        callback=shipped_path("bundle"),
    ),
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        help="Largest relative error of logits and absolute error of probabilities; default: 1e-4 for fp32, 2e-2 for "
        "fp16, 0.25 for int8.",
        callback=not_negative,
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        help="Smallest signal-to-error ratio of a tensor that has not diverged, in dB; default: 80 for fp32, 40 for "
        "fp16, 12 for int8.",
        callback=not_negative,
    ),
]
PerTensor = Annotated[
    bool,
    typer.Option("--per-tensor", help="Compare every tensor inside the graph instead of the outputs."),
]
SaveOutputs = Annotated[
    Path | None,
    typer.Option(
        "--save-outputs",
        metavar="FILE",
        help="JSON file for the engine's outputs, in Polygraphy's format. RUN.json also writes the inputs, to "
        "RUN.inputs.json, for `polygraphy run --load-inputs`.",
    ),
]
LoadOutputs = Annotated[
    Path | None,
    typer.Option(
        "--load-outputs",
        metavar="FILE",
        help="JSON file of outputs to compare instead of running the engine, from `polygraphy run --save-outputs`.",
    ),
]

ImageCount = Annotated[
    int | None,
    typer.Option(
        "--count",
        min=1,
        help="Number of images to use, evenly spread over the data set; default: 256, or 16 with --per-tensor.",
    ),
]


def parity(
    bundle: options.BundleArgument,
    images: options.Images,
    checkpoint: options.Checkpoint = None,
    split: options.Split = None,
    layout: options.Layout = "auto",
    engine: options.Engine = None,
    device: options.Device = None,
    threads: options.Threads = None,
    allow_host_code: options.AllowHostCode = False,
    count: ImageCount = None,
    tolerance: Tolerance = None,
    save_outputs: SaveOutputs = None,
    load_outputs: LoadOutputs = None,
    per_tensor: PerTensor = False,
    reference_bundle: ReferenceBundle = None,
    threshold: Threshold = None,
    plot: options.Plot = None,
    every: options.Everything = False,
    json: options.Json = False,
) -> None:
    """Compare a bundle's engine with PyTorch, stage by stage.

    With `--per-tensor`, compare the bundle's graph on its engine with the fp32 graph of the checkpoint, and name the
    first tensor that diverges. Exit code 1: a stage failed, or a tensor diverged.

    Example: fer-edge parity edge.fer --checkpoint edge.safetensors --images faces/
    """
    outputs_only = {
        "device": device,
        "threads": threads,
        "allow-host-code": allow_host_code or None,
        "tolerance": tolerance,
        "save-outputs": save_outputs,
        "load-outputs": load_outputs,
    }
    per_tensor_only = {"reference-bundle": reference_bundle, "threshold": threshold, "plot": plot, "all": every or None}
    if per_tensor:
        refuse_given("outputs, which --per-tensor does not compare", "leave out --per-tensor", **outputs_only)
    else:
        refuse_given("what --per-tensor compares", "add --per-tensor", **per_tensor_only)
        if checkpoint is None:
            raise typer.BadParameter("--checkpoint is missing; name the checkpoint that the bundle was built from")
    folder = cast("Path", images)  # required, although the option's type is shared with commands where it is not
    check_output_files({"--plot": plot, "--save-outputs": save_outputs}, bundle, checkpoint, reference_bundle, folder)
    from fer_edge.cli.output import print_result, progress

    report: ParityReport | TensorReport
    if per_tensor:
        from fer_edge.export import tensor_parity

        report = tensor_parity.compare_tensors(
            bundle,
            checkpoint,
            folder,
            split=split,
            layout=layout,
            engine=engine,
            reference_bundle=reference_bundle,
            threshold=threshold,
            count=count or tensor_parity.IMAGES,
            plot=plot,
            progress=progress,
        )
        report = _with_rows(report, every, json)
    else:
        from fer_edge.evaluation import parity as output_parity

        report = output_parity.parity(
            bundle,
            cast("Path", checkpoint),
            folder,
            split=split,
            layout=layout,
            engine=engine,
            device=device or 0,
            tolerance=tolerance,
            threads=threads,
            allow_host_code=allow_host_code,
            count=count or output_parity.IMAGES,
            save_outputs=save_outputs,
            load_outputs=load_outputs,
            progress=progress,
        )
    print_result(report, as_json=json)
    if not report:
        raise typer.Exit(1)


def _with_rows(report: TensorReport, every: bool, json: bool) -> TensorReport:
    """List every tensor in the printed table, or note that only the worst are listed."""
    from dataclasses import replace

    from fer_edge.cli.output import print_note

    if every:
        return replace(report, rows=None)
    if report.rows is not None and report.rows < len(report.tensors) and not json:
        print_note(f"the worst {report.rows} of {len(report.tensors)} tensors; --all lists every one")
    return report
