"""`fer-edge evaluate`."""

from __future__ import annotations

from typing import Annotated

import typer

from fer_edge.cli import options


def evaluate(
    model: options.ModelArgument,
    data: options.DataArgument,
    split: options.Split = None,
    layout: options.Layout = "auto",
    engine: options.Runner = None,
    device: options.Device = None,
    threads: options.Threads = None,
    allow_host_code: options.AllowHostCode = False,
    count: options.Count = None,
    skip_damaged: options.SkipDamaged = False,
    corruptions: Annotated[
        bool,
        typer.Option(
            "--corruptions",
            help="Measure accuracy on damaged copies of the images too: moved, blurred, noisy, dark and others.",
        ),
    ] = False,
    report: options.Report = None,
    checkpoint: options.Checkpoint = None,
    json: options.Json = False,
) -> None:
    """Measure accuracy on labelled images.

    A bundle's report has a feature map only with `--checkpoint`.

    Example: fer-edge evaluate edge.fer ferplus/ --report report/ --checkpoint edge.safetensors
    """
    from fer_edge.cli.output import print_note, print_result, progress
    from fer_edge.evaluation.evaluate import evaluate as run_evaluation

    result = run_evaluation(
        model,
        data,
        split=split,
        layout=layout,
        engine=engine,
        device=device or 0,
        threads=threads,
        allow_host_code=allow_host_code,
        count=count,
        skip_damaged=skip_damaged,
        corruptions=corruptions,
        report=report,
        checkpoint=checkpoint,
        progress=progress,
    )
    for reason in result.skipped:
        print_note(f"skipped: {reason}")
    print_result(result, as_json=json)
