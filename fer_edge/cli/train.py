"""`fer-edge train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_edge.cli.options import (
    Json,
    SkipDamaged,
    StemWeights,
    TextFeatures,
    Threads,
    TrainingRecipe,
    TrainingSettings,
    ValidData,
)

if TYPE_CHECKING:
    from fer_edge.cli.training_display import Unread
    from fer_edge.training.loop import Trainer


def train(
    data: Annotated[Path, typer.Argument(help="Data set: FERPlus, RAF-DB, SFEW, class folders or a list file.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the run; an interrupted run goes on.")],
    recipe: TrainingRecipe = "edge-ferplus",
    settings: TrainingSettings = None,
    preset: Annotated[str | None, typer.Option(help="Model preset: edge, paper, release or teacher.")] = None,
    layout: Annotated[str | None, typer.Option(help="Layout of the data set, if it cannot be told.")] = None,
    valid: ValidData = None,
    valid_split: Annotated[str | None, typer.Option(help="Split to validate on: valid or test.")] = None,
    skip_damaged: SkipDamaged = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training images.")] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Images a step, over all processes.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest one of the schedule.")] = None,
    targets: Annotated[str | None, typer.Option(help="majority, probability, crossentropy or multi_target.")] = None,
    mixup: Annotated[float | None, typer.Option(min=0, help="Alpha of mixup; 0 for none.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of all that is random.")] = None,
    init: Annotated[Path | None, typer.Option(help="Checkpoint to start from, or edge, the shipped one.")] = None,
    stem: StemWeights = None,
    teacher: Annotated[
        list[Path] | None, typer.Option(help="Checkpoint to learn from as well; may be repeated.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Text features: learned, features, frozen or fine-tuned.")] = None,
    text_features: TextFeatures = None,
    text_model: Annotated[str | None, typer.Option(help="open_clip's name of the text tower.")] = None,
    text_weights: Annotated[str | None, typer.Option(help="open_clip's tag, or a local file.")] = None,
    template: Annotated[
        list[str] | None, typer.Option(help="Prompt with {}, or word, phrase, active, passive.")
    ] = None,
    accelerator: Annotated[str | None, typer.Option(help="cpu, cuda or auto.")] = None,
    devices: Annotated[int | None, typer.Option(min=1, help="Processes on each node.")] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Machines that share the run.")] = None,
    amp: Annotated[bool, typer.Option("--amp", help="bfloat16 where it is safe.")] = False,
    compile: Annotated[bool, typer.Option("--compile", help="torch.compile; needs a C++ compiler.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="One step, to see that all fits; writes nothing.")] = False,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Train a model on labelled faces.

    Options and --set win over the recipe. Ctrl-C saves: the same command goes on where it stopped. The settings are
    listed in docs/training.md.

    Example: fer-edge train ferplus/ -o runs/edge --recipe edge-ferplus --epochs 12

    Example: fer-edge train my-faces/ -o runs/mine --init edge --epochs 5 --batch 16
    """
    from fer_edge.cli.output import print_note
    from fer_edge.cli.training_display import check_run_folder, prepared
    from fer_edge.errors import EngineUnavailableError
    from fer_edge.shipped import checkpoint_path

    try:
        import torch

        from fer_edge.training.effects import check_effects, check_recipe_file, is_model_setting
        from fer_edge.training.initialization import Sources
        from fer_edge.training.recipe import Recipe, changed, parse_settings, read_recipe
    except ImportError as error:
        raise EngineUnavailableError(f'training needs PyTorch ({error}); run: pip install "fer-edge[train]"') from error
    if text_features is not None and text is None:
        text = "features"
    options = {
        "preset": preset, "layout": layout, "valid_split": valid_split, "epochs": epochs, "batch": batch,
        "learning_rate": learning_rate, "targets": targets, "mixup": mixup, "seed": seed, "text": text,
        "text_model": text_model, "text_weights": text_weights, "templates": template, "accelerator": accelerator,
        "devices": devices, "nodes": nodes, "amp": amp or None, "compile": compile or None,
    }  # fmt: skip
    given = {name: value for name, value in options.items() if value is not None}
    given.update(parse_settings(settings or ()))
    if init is not None and any(map(is_model_setting, given)):
        raise typer.BadParameter("--init brings its own model; leave out --preset and settings of the model")
    file = read_recipe(recipe)
    chosen = Recipe.from_dict(changed(file, given))
    sources = Sources(
        data,
        valid,
        None if init is None else checkpoint_path(init),
        stem,
        text_features,
        tuple(map(checkpoint_path, teacher or ())),
    )
    check_effects(given, chosen, sources)
    check_recipe_file(recipe, file, chosen, sources)
    check_run_folder(out, sources)
    if threads is not None:
        torch.set_num_threads(threads)
    with prepared(chosen, sources, None if dry_run else out, skip_damaged=skip_damaged) as (trainer, unread):
        if trainer.fabric.is_global_zero:
            print_note(f"{len(trainer.data.images)} images to learn from, {len(unread.skipped)} skipped")
        if dry_run:
            _dry_run(trainer, json)
        else:
            _run(trainer, out, unread, json)


def _dry_run(trainer: Trainer, json: bool) -> None:
    from fer_edge.cli.output import console, print_json

    loss, steps = trainer.dry_run(), trainer.batches.steps
    if not trainer.fabric.is_global_zero:
        return
    if json:
        print_json({"dry_run": True, "loss": loss, "steps": steps, "epochs": trainer.config.epochs})
    else:
        console().print(
            f"all fits: loss {loss:.3f}; {trainer.config.epochs} epochs of {steps} steps. Nothing was written"
        )


def _run(trainer: Trainer, out: Path, unread: Unread, json: bool) -> None:
    from fer_edge.cli.output import console, print_json, print_note
    from fer_edge.cli.training_display import run_and_show

    best = run_and_show(trainer, out)
    if not trainer.fabric.is_global_zero:
        return
    file = trainer.files.best
    if best.only_label is not None:
        print_note(
            f"the model predicts {best.only_label} for every validation image: nothing was learned; "
            "train more epochs, or start from a checkpoint with --init edge"
        )
    if json:
        print_json({"checkpoint": file, "best": best, "epochs": trainer.results, **vars(unread)})
        return
    console().print(
        f"{file}: {best.accuracy:.2f} % of {len(trainer.data.valid_labels)} validation images after epoch "
        f"{best.epoch + 1}, text features {trainer.info.text_source}",
        soft_wrap=True,
    )
