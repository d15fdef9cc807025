"""`fer-edge checkpoint import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_edge import choices
from fer_edge.cli import options


def checkpoint_import(
    source: Annotated[
        Path,
        typer.Argument(help="Checkpoint of the authors, or face.evoLVe's IR_50 weights (.pth, .safetensors or .npz)."),
    ],
    out: options.CheckpointOut,
    text_features: options.TextFeatures = None,
    text_model: options.TextModel = None,
    text_weights: options.TextWeights = None,
    retries: options.Retries = 0,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", help="Set of weights to use in a file with several, such as model_ema; default: the best match."
        ),
    ] = None,
    stem_only: Annotated[
        bool,
        typer.Option("--stem-only", help="Import IR_50 weights as the stem of a model; all other weights are random."),
    ] = False,
    preset: Annotated[
        choices.PresetName | None,
        typer.Option("--preset", help="Model preset, with `--stem-only`: paper or release; default: paper."),
    ] = None,
    labels: Annotated[
        choices.LabelSetName | None,
        typer.Option("--labels", help="Label set of the model, with `--stem-only`; default: rafdb."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Convert weights of another program to a checkpoint.

    The authors' checkpoints contain no text features, so these come from a file or a text encoder. With --stem-only,
    text features are random and learned in training unless a file is given.

    Example: fer-edge checkpoint import best.pth -o release.safetensors
    """
    from fer_edge.cli.option_checks import check_out_file
    from fer_edge.cli.output import print_result
    from fer_edge.model.conversion import import_checkpoint

    check_out_file(out, ".safetensors", "a checkpoint")
    result = import_checkpoint(
        source,
        out,
        text_features=text_features,
        text_model=text_model,
        text_weights=text_weights,
        retries=retries,
        key=key,
        stem_only=stem_only,
        preset=preset,
        labels=labels,
    )
    print_result(result, as_json=json)
