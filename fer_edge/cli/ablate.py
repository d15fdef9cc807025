"""`fer-edge ablate`."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    from collections.abc import Iterator, Sequence

    from fer_edge.errors import NonFiniteError
    from fer_edge.training.ablation import Run, RunResult
    from fer_edge.training.initialization import Sources
    from fer_edge.training.loop import Trainer
    from fer_edge.training.recipe import Recipe
    from fer_edge.training.results import EpochResult


TABLE = "table.csv"  # in the folder of the runs


def ablate(
    data: Annotated[Path, typer.Argument(help="Data set, as for fer-edge train.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the runs; interrupted ones go on.")],
    table: Annotated[list[str] | None, typer.Option(help="IV, V or VI; may be repeated. Default: IV and VI.")] = None,
    recipe: TrainingRecipe = "edge-ferplus",
    settings: TrainingSettings = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training images, in each run.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = 1,
    stem: StemWeights = None,
    text_features: TextFeatures = None,
    valid: ValidData = None,
    skip_damaged: SkipDamaged = False,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Repeat the paper's ablations, Tables IV, V and VI, on a recipe.

    Every variant is a training of its own; one that tables share is trained once. All use the paper's grid of 12 x 12,
    and those with text the recipe's text side. table.csv beside the runs has a row
    for each finished training; rows of other tables and seeds stay. Ctrl-C saves: the same command goes on.

    Example: fer-edge ablate ferplus/ -o runs/ablations --table IV --set limit_train=8000 --epochs 8
    """
    from fer_edge._files import check_output
    from fer_edge.errors import EngineUnavailableError

    try:
        import torch

        from fer_edge.training.ablation import planned_runs, read_results
        from fer_edge.training.effects import check_effects, check_recipe_file
        from fer_edge.training.initialization import Sources
        from fer_edge.training.recipe import Recipe, changed, parse_settings, read_recipe
    except ImportError as error:
        raise EngineUnavailableError(f'training needs PyTorch ({error}); run: pip install "fer-edge[train]"') from error
    file = read_recipe(recipe)
    options = {"text": None if text_features is None else "features", "epochs": epochs}
    given = {name: value for name, value in options.items() if value is not None}
    given.update(parse_settings(settings or ()))
    chosen = changed(file, given)
    runs = planned_runs(chosen, table or ("IV", "VI"), seeds, given)
    sources = Sources(data, valid, stem=stem, text_features=text_features)
    base = Recipe.from_dict(chosen)
    check_effects(given, base, sources)
    check_recipe_file(recipe, file, base, sources)
    check_output(out, data, valid, stem, text_features)
    if threads is not None:
        torch.set_num_threads(threads)
    read_results(out / TABLE)  # refused before hours of training
    with _held(out, base):
        results, failed = _run_all(runs, sources, out, skip_damaged)
    if _first_process():
        _report(chosen, results, failed, json)
    if failed:
        raise typer.Exit(1)


def _run_all(
    runs: Sequence[Run], sources: Sources, out: Path, skip_damaged: bool
) -> tuple[list[RunResult], dict[str, NonFiniteError]]:
    from fer_edge.cli.output import print_note
    from fer_edge.training.ablation import run_ablation, write_results

    done = 0

    def keep(rows: list[RunResult]) -> None:
        nonlocal done
        done = len(rows)
        if _first_process():
            write_results(out / TABLE, rows)

    try:
        return run_ablation(runs, out, lambda run, folder: _train(run, sources, folder, skip_damaged), keep)
    except typer.Exit:
        if _first_process():
            print_note(f"{done} rows of finished trainings are in {out / TABLE}")
        raise


def _report(
    recipe: dict[str, Any], results: Sequence[RunResult], failed: dict[str, NonFiniteError], json: bool
) -> None:
    from fer_edge.cli.output import print_error, print_json

    if json:
        reasons = {name: str(reason) for name, reason in failed.items()}
        print_json({"recipe": recipe, "runs": results, "failed": reasons})
    else:
        for name in dict.fromkeys(result.table for result in results):
            _print_table(name, [result for result in results if result.table == name])
    for name, reason in failed.items():
        print_error(f"{name}: {reason}")


@contextmanager
def _held(out: Path, recipe: Recipe) -> Iterator[None]:
    """The folder of the runs, made and this process's alone; only the first of several processes takes it."""
    from fer_edge._files import make_folder
    from fer_edge.training.devices import make_fabric
    from fer_edge.training.lock import locked

    make_folder(out)
    with locked(out) if make_fabric(recipe.training).is_global_zero else nullcontext():
        yield


def _train(run: Run, sources: Sources, folder: Path, skip_damaged: bool) -> tuple[Trainer, EpochResult]:
    from dataclasses import replace

    from fer_edge.cli.output import print_note
    from fer_edge.cli.training_display import prepared, run_and_show

    if run.recipe.training.text != "features":  # variants without a text head
        sources = replace(sources, text_features=None)
    with prepared(run.recipe, sources, folder, skip_damaged=skip_damaged) as (trainer, unread):
        if trainer.fabric.is_global_zero:
            rows = "; ".join(f"table {table}: {variant.name}" for table, variant in run.rows)
            print_note(f"{rows}, seed {run.recipe.training.seed}; {len(unread.skipped)} images skipped")
        return trainer, run_and_show(trainer, folder)


def _first_process() -> bool:
    from torch import distributed

    return not distributed.is_initialized() or distributed.get_rank() == 0


def _print_table(name: str, results: Sequence[RunResult]) -> None:
    from fer_edge.cli.output import print_table
    from fer_edge.training.ablation import ABLATIONS, standard_error

    rows = []
    for variant in dict.fromkeys(result.variant for result in results):
        of_variant = [result for result in results if result.variant == variant]
        best, last = (
            sum(values) / len(values)
            for values in zip(*((result.accuracy, result.last_accuracy) for result in of_variant), strict=True)
        )
        error = standard_error(best, of_variant[0].validation_images)
        rows.append((variant, f"{best:.2f}", f"{error:.2f}", f"{last:.2f}", len(of_variant), *of_variant[0].paper))
    columns = ("variant", "best %", "standard error", "last %", "seeds", "paper: RAF-DB %", "paper: FERPlus %")
    print_table(f"Table {name}: {ABLATIONS[name].title}", columns, rows)
