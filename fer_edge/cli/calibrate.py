"""`fer-edge calibrate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli import options
from fer_edge.cli.option_checks import check_out_file, not_negative, refuse_given, shipped_path


def calibrate(
    checkpoint: options.CheckpointArgument,
    data: options.DataArgument,
    out: options.RangesOut,
    calibration_set: Annotated[
        Path | None,
        typer.Option(
            "--calibration-set",
            help="Calibration set (.json), or `ferplus-512`, the shipped one. An existing file is read; otherwise a "
            "set is chosen from the training split and written.",
            callback=shipped_path("calibration set"),
        ),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Number of images to choose; default: 512.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the random choices; default: 0.")] = None,
    method: options.CalibrationMethod = "moving-average",
    layer_kind: options.LayerKinds = None,
    float_layer: Annotated[
        list[str] | None,
        typer.Option(
            "--float-layer",
            metavar="NAME",
            help="Layer to leave in float, besides those that a search marks; repeat for several. The tables of a "
            "search name the layers.",
        ),
    ] = None,
    layout: options.Layout = "auto",
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="Largest drop of accuracy, in points: search for layers that have to stay in float.",
            callback=not_negative,
        ),
    ] = None,
    split: options.Split = None,
    eval_count: Annotated[
        int | None, typer.Option(min=1, help="Number of images to measure accuracy on, evenly spread; default: all.")
    ] = None,
    engine: options.EngineToScore = None,
    device: options.Device = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="File of the search's measurements, from which it resumes; default: next to the ranges, with the "
            "suffix .search.json."
        ),
    ] = None,
    plot: options.Plot = None,
    every: options.Everything = False,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Measure activation ranges on real images, for int8 and fp16.

    With --max-drop, the sensitivity of every layer is measured on --split, and the fewest layers that keep accuracy
    within the budget are marked to stay in float. An interrupted search resumes.

    Example: fer-edge calibrate edge.safetensors ferplus/ -o edge.ranges.json --max-drop 0.3
    """
    from fer_edge.cli.output import print_result, progress
    from fer_edge.export.calibrate import calibrate as measure

    if max_drop is None:
        refuse_given("the search", "add --max-drop", all=every or None)
    check_out_file(out, ".json", "a ranges file")
    kinds = {"layer_kinds": layer_kind} if layer_kind else {}
    result = measure(
        checkpoint,
        data,
        out=out,
        calibration_set=calibration_set,
        count=count,
        seed=seed,
        method=method,
        float_layers=float_layer or (),
        layout=layout,
        max_drop=max_drop,
        split=split,
        eval_count=eval_count,
        engine=engine,
        device=device,
        threads=threads,
        state=state,
        plot=plot,
        progress=progress,
        **kinds,
    )
    print_result(replace(result, all_layers=every), as_json=json)
