"""`fer-edge ablate`."""

from __future__ import annotations

from typing import Annotated

import typer

from fer_edge.cli import options


def ablate(
    data: options.DataArgument,
    out: options.FolderOut,
    table: Annotated[
        list[str] | None,
        typer.Option("--table", help="Table of the paper: IV, V or VI; repeat for several. Default: IV and VI."),
    ] = None,
    recipe: options.TrainingRecipe = "ablation-ferplus",
    settings: options.TrainingSettings = None,
    epochs: options.Epochs = None,
    runs: Annotated[
        int, typer.Option("--runs", min=1, help="Number of trainings of each variant, with different seeds.")
    ] = 1,
    stem_weights: options.StemWeights = None,
    text_features: options.TextFeatures = None,
    valid_data: options.ValidData = None,
    skip_damaged: options.SkipDamaged = False,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Repeat the paper's ablations (Tables IV, V and VI) with a recipe.

    Each variant is trained once, also if several tables contain it. All variants use the paper's grid of 12 x 12, and
    those with text the recipe's text side. table.csv in the output folder has a row for each finished training; rows of
    other tables and seeds stay. Ctrl-C writes a resume point: run the same command to continue.

    Example: fer-edge ablate ferplus/ -o runs/ablations --table IV --set limit_train=8000 --epochs 8
    """
    from fer_edge._require import require
    from fer_edge.cli.output import print_error, print_result, progress
    from fer_edge.cli.training_display import TrainingDisplay, stop_exit_codes

    require("lightning_fabric", "train", "training")
    from fer_edge.training.ablation import ablate as run_ablation
    from fer_edge.training.recipe import parse_settings

    chosen = {} if epochs is None else {"epochs": epochs}
    with stop_exit_codes():
        result = run_ablation(
            data,
            out,
            tables=table or ("IV", "VI"),
            recipe=recipe,
            settings={**chosen, **parse_settings(settings or ())},
            runs=runs,
            stem_weights=stem_weights,
            text_features=text_features,
            valid_data=valid_data,
            skip_damaged=skip_damaged,
            threads=threads,
            display=TrainingDisplay,
            progress=progress,
        )
    if result is None:
        return
    print_result(result, as_json=json)
    for name, error in result.failed.items():
        print_error(f"{name}: {error}")
    if result.failed:
        raise typer.Exit(1)
