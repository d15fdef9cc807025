"""`fer-edge train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_edge import choices
from fer_edge.cli import options
from fer_edge.cli.option_checks import shipped_path


def train(
    data: options.DataArgument,
    out: options.FolderOut,
    recipe: options.TrainingRecipe = "edge-ferplus",
    settings: options.TrainingSettings = None,
    preset: Annotated[
        choices.PresetName | None, typer.Option("--preset", help="Model preset; default: the recipe's.")
    ] = None,
    layout: Annotated[
        choices.LayoutName | None,
        typer.Option("--layout", help="Layout of the data set; default: the recipe's, or detected."),
    ] = None,
    valid_data: options.ValidData = None,
    valid_split: Annotated[
        choices.Split | None,
        typer.Option("--valid-split", help="Split of the validation images; default: the recipe's."),
    ] = None,
    skip_damaged: options.SkipDamaged = False,
    epochs: options.Epochs = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", min=2, help="Number of images per step, over all processes; default: the recipe's."),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", help="Maximum learning rate of the schedule; default: the recipe's."),
    ] = None,
    label_targets: Annotated[
        choices.LabelTargets | None,
        typer.Option("--label-targets", help="Training targets made from FERPlus's votes; default: the recipe's."),
    ] = None,
    mixup: Annotated[
        float | None,
        typer.Option("--mixup", min=0, help="Alpha of mixup's Beta distribution; 0: no mixup; default: the recipe's."),
    ] = None,
    seed: options.Seed = None,
    init: Annotated[
        Path | None,
        typer.Option(
            "--init",
            help="Initial checkpoint, or `edge`, the shipped one; default: random weights.",
            callback=shipped_path("checkpoint"),
        ),
    ] = None,
    stem_weights: options.StemWeights = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(
            "--teacher",
            help="Checkpoint of a teacher for distillation; repeat for several.",
            callback=shipped_path("checkpoint"),
        ),
    ] = None,
    text_side: Annotated[
        choices.TextSide | None,
        typer.Option("--text-side", help="Source of the text features; default: the recipe's."),
    ] = None,
    text_features: options.TextFeatures = None,
    text_model: options.TextModel = None,
    text_weights: options.TextWeights = None,
    template: options.Templates = None,
    accelerator: Annotated[
        choices.Accelerator | None, typer.Option("--accelerator", help="Device type; default: the recipe's, cpu.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="Number of processes on each node; default: 1.")
    ] = None,
    nodes: Annotated[
        int | None, typer.Option("--nodes", min=1, help="Number of machines that share the run; default: 1.")
    ] = None,
    amp: Annotated[bool, typer.Option("--amp", help="Compute in bfloat16 where it is safe; default: float32.")] = False,
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the model with torch.compile; needs a C++ compiler.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Run one step to check memory and settings; writes no files.")
    ] = False,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Train a model on labelled face images.

    Options and --set replace settings of the recipe. Ctrl-C writes a resume point: run the same command to continue.
    docs/training.md lists the settings.

    Example: fer-edge train ferplus/ -o runs/edge --recipe edge-ferplus --epochs 12

    Example: fer-edge train my-faces/ -o runs/faces --init edge --epochs 5 --batch 16
    """
    from fer_edge._require import require
    from fer_edge.cli.output import print_result, progress
    from fer_edge.cli.training_display import TrainingDisplay, stop_exit_codes

    require("lightning_fabric", "train", "training")
    from fer_edge.training.recipe import parse_settings
    from fer_edge.training.run import train as run_training

    values = {
        "preset": preset, "layout": layout, "valid_split": valid_split, "epochs": epochs, "batch": batch,
        "learning_rate": learning_rate, "targets": label_targets, "mixup": mixup, "seed": seed, "text": text_side,
        "text_model": text_model, "text_weights": text_weights, "templates": template, "accelerator": accelerator,
        "devices": processes, "nodes": nodes, "amp": amp or None, "compile": compile or None,
    }  # fmt: skip
    chosen = {name: value for name, value in values.items() if value is not None}
    with stop_exit_codes():
        result = run_training(
            data,
            out,
            recipe=recipe,
            settings={**chosen, **parse_settings(settings or ())},
            valid_data=valid_data,
            init=init,
            stem_weights=stem_weights,
            text_features=text_features,
            teachers=teacher or (),
            skip_damaged=skip_damaged,
            threads=threads,
            dry_run=dry_run,
            display=TrainingDisplay,
            progress=progress,
        )
    if result is not None:
        print_result(result, as_json=json)
