"""`fer-edge checkpoint narrow`."""

from __future__ import annotations

from typing import Annotated

import typer

from fer_edge import choices
from fer_edge.cli import options


def checkpoint_narrow(
    checkpoint: options.CheckpointArgument,
    data: options.DataArgument,
    out: options.CheckpointOut,
    preset: Annotated[choices.PresetName, typer.Option("--preset", help="Model preset; default: edge.")] = "edge",
    layout: options.Layout = "auto",
    count: Annotated[
        int,
        typer.Option(
            "--count",
            min=1,
            help="Number of images to use, evenly spread over the data set; default: 1024.",
        ),
    ] = 1024,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Write a narrow copy of a trained model, as the start of a training.

    The channels of a separable stem that influence the next layer most are kept, and the statistics of its norms are
    measured again. What has another shape in the preset starts anew.

    Example: fer-edge checkpoint narrow teacher.safetensors ferplus/ -o start.safetensors
    """
    from fer_edge._require import require
    from fer_edge.cli.option_checks import check_out_file
    from fer_edge.cli.output import print_result, progress

    require("torch", "export", "narrowing a model")
    from fer_edge.training.narrow import narrow

    check_out_file(out, ".safetensors", "a checkpoint")
    result = narrow(
        checkpoint, data, out, preset_name=preset, layout=layout, count=count, threads=threads, progress=progress
    )
    print_result(result, as_json=json)
