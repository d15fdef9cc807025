"""`fer-edge train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_edge.cli.options import (
    Json,
    RecipeName,
    Settings,
    SkipDamaged,
    StemWeights,
    TextFeaturesFile,
    Threads,
    Valid,
)

if TYPE_CHECKING:
    from fer_edge.training.loop import Trainer


def train(
    data: Annotated[Path, typer.Argument(help="Data set: FERPlus, RAF-DB, SFEW, class folders or a list file.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the run; an interrupted run goes on.")],
    recipe: RecipeName = "edge-ferplus",
    settings: Settings = None,
    preset: Annotated[str | None, typer.Option(help="Model preset: edge, paper, release or teacher.")] = None,
    layout: Annotated[str | None, typer.Option(help="Layout of the data set, if it cannot be told.")] = None,
    valid: Valid = None,
    valid_split: Annotated[str | None, typer.Option(help="Split to validate on: valid or test.")] = None,
    skip_damaged: SkipDamaged = False,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Images a step, over all processes.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest one of the schedule.")] = None,
    targets: Annotated[str | None, typer.Option(help="majority, probability, crossentropy or multi_target.")] = None,
    mixup: Annotated[float | None, typer.Option(min=0, help="Alpha of mixup; 0 for none.")] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    init: Annotated[Path | None, typer.Option(help="Checkpoint to start from.")] = None,
    stem: StemWeights = None,
    teacher: Annotated[
        list[Path] | None, typer.Option(help="Checkpoint to learn from as well; may be repeated.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Text features: learned, features, frozen or fine-tuned.")] = None,
    text_features: TextFeaturesFile = None,
    text_model: Annotated[str | None, typer.Option(help="open_clip's name of the text tower.")] = None,
    text_weights: Annotated[str | None, typer.Option(help="open_clip's tag, or a local file.")] = None,
    template: Annotated[
        list[str] | None, typer.Option(help="Prompt with {}, or word, phrase, active, passive.")
    ] = None,
    accelerator: Annotated[str | None, typer.Option(help="cpu, cuda or auto.")] = None,
    devices: Annotated[int | None, typer.Option(min=1, help="Processes on each node.")] = None,
    nodes: Annotated[int | None, typer.Option(min=1)] = None,
    amp: Annotated[bool, typer.Option("--amp", help="bfloat16 where it is safe.")] = False,
    compile: Annotated[bool, typer.Option("--compile", help="torch.compile; needs a C++ compiler.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="One step, to see that all fits; writes nothing.")] = False,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Train a model on labelled faces.

    Example: fer-edge train ferplus/ -o runs/edge --recipe edge-ferplus --epochs 12
    """
    from fer_edge.cli.output import err_console
    from fer_edge.cli.training_display import make_run_folder, prepare
    from fer_edge.errors import EngineUnavailable

    try:
        import torch

        from fer_edge.training.recipe import Recipe, changed, parse_settings, read_recipe
        from fer_edge.training.start import Sources
    except ImportError as error:
        raise EngineUnavailable(f'training needs PyTorch ({error}); run: pip install "fer-edge[train]"') from error
    if text_features is not None and text is None:
        text = "features"
    changed_models = [name for name in settings or () if name.startswith(("model.", "preset="))]
    if init is not None and (preset is not None or changed_models):
        raise typer.BadParameter("--init brings its own model; leave out --preset and settings of the model")
    options = {
        "preset": preset, "layout": layout, "valid_split": valid_split, "epochs": epochs, "batch": batch,
        "learning_rate": learning_rate, "targets": targets, "mixup": mixup, "seed": seed, "text": text,
        "text_model": text_model, "text_weights": text_weights, "templates": template, "accelerator": accelerator,
        "devices": devices, "nodes": nodes, "amp": amp or None, "compile": compile or None,
    }  # fmt: skip
    given = {name: value for name, value in options.items() if value is not None}
    chosen = Recipe.from_dict(changed(changed(read_recipe(recipe), given), parse_settings(settings or ())))
    if threads is not None:
        torch.set_num_threads(threads)
    if not dry_run:
        make_run_folder(out)
    sources = Sources(data, valid, init, stem, text_features, tuple(teacher or ()))
    trainer, skipped = prepare(chosen, sources, out, skip_damaged=skip_damaged)
    if trainer.fabric.is_global_zero:
        for reason in skipped:
            err_console().print(f"skipped: {reason}", soft_wrap=True)
        err_console().print(f"{len(trainer.data.images)} images to learn from, {len(skipped)} skipped")
    if dry_run:
        _dry_run(trainer, json)
    else:
        _run(trainer, out, skipped, json)


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


def _run(trainer: Trainer, out: Path, skipped: list[str], json: bool) -> None:
    from fer_edge.cli.output import console, print_json
    from fer_edge.cli.training_display import run_and_show

    best = run_and_show(trainer, out)
    if not trainer.fabric.is_global_zero:
        return
    file = out / "best.safetensors"
    if json:
        print_json({"checkpoint": file, "best": best, "epochs": trainer.results, "skipped": skipped})
        return
    source = trainer.info.text_source
    console().print(
        f"{file}: {best.accuracy:.2f} % on validation after epoch {best.epoch + 1}, text features {source}",
        soft_wrap=True,
    )
