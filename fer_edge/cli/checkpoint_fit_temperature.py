"""`fer-edge checkpoint fit-temperature`."""

from __future__ import annotations

from typing import Annotated

import typer

from fer_edge.cli import options


def checkpoint_fit_temperature(
    checkpoint: options.CheckpointArgument,
    data: options.DataArgument,
    out: options.CheckpointOut,
    split: options.Split = None,
    layout: options.Layout = "auto",
    half: Annotated[bool, typer.Option("--half", help="Store weights as float16; default: float32.")] = False,
    threads: options.Threads = None,
    count: options.Count = None,
    json: options.Json = False,
) -> None:
    """Fit a checkpoint's temperature on images that it was not trained on.

    The logits of both heads are divided by the temperature, which calibrates the probabilities; it is folded into the
    weights. A single head's top-1 label never changes; that of the mean of both heads can.

    Example: fer-edge checkpoint fit-temperature best.safetensors ferplus/ -o edge.safetensors
    """
    from fer_edge.cli.option_checks import check_out_file
    from fer_edge.cli.output import print_result, progress
    from fer_edge.evaluation.temperature import fit_temperature

    check_out_file(out, ".safetensors", "a checkpoint")
    result = fit_temperature(
        checkpoint,
        data,
        out,
        split=split,
        layout=layout,
        half=half,
        threads=threads,
        count=count,
        progress=progress,
    )
    print_result(result, as_json=json)
