"""`fer-edge ablate`."""

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
    from collections.abc import Sequence

    from fer_edge.training.ablation import Run, RunResult
    from fer_edge.training.loop import EpochResult, Trainer
    from fer_edge.training.start import Sources


def ablate(
    data: Annotated[Path, typer.Argument(help="Data set, as for fer-edge train.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the runs; interrupted ones go on.")],
    table: Annotated[list[str] | None, typer.Option(help="IV, V or VI; may be repeated. Default: IV and VI.")] = None,
    recipe: RecipeName = "edge-ferplus",
    settings: Settings = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = 1,
    stem: StemWeights = None,
    text_features: TextFeaturesFile = None,
    valid: Valid = None,
    skip_damaged: SkipDamaged = False,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Repeat the paper's ablations, Tables IV, V and VI, on a recipe.

    Every variant is a training of its own; one that tables share is trained once. All use the paper's grid of 12 x 12,
    and those with text the recipe's text side. Writes table.csv beside the runs.

    Example: fer-edge ablate ferplus/ -o runs/ablations --table IV --set limit_train=8000 --set epochs=8
    """
    from fer_edge.cli.output import print_json
    from fer_edge.errors import EngineUnavailable

    try:
        import torch

        from fer_edge.training.ablation import planned_runs, run_ablation, write_results
        from fer_edge.training.recipe import changed, parse_settings, read_recipe
        from fer_edge.training.start import Sources
    except ImportError as error:
        raise EngineUnavailable(f'training needs PyTorch ({error}); run: pip install "fer-edge[train]"') from error
    given = {} if text_features is None else {"text": "features"}
    chosen = changed(changed(read_recipe(recipe), given), parse_settings(settings or ()))
    runs = planned_runs(chosen, table or ("IV", "VI"), seeds)
    if threads is not None:
        torch.set_num_threads(threads)
    sources = Sources(data, valid, stem=stem, text_features=text_features)
    results = run_ablation(runs, out, lambda run, folder: _train(run, sources, folder, skip_damaged))
    if not _first_process():
        return
    write_results(out / "table.csv", results)
    if json:
        print_json({"recipe": chosen, "runs": results})
        return
    for name in dict.fromkeys(result.table for result in results):
        _print_table(name, [result for result in results if result.table == name])


def _train(run: Run, sources: Sources, folder: Path, skip_damaged: bool) -> tuple[Trainer, EpochResult]:
    from dataclasses import replace

    from fer_edge.cli.output import err_console
    from fer_edge.cli.training_display import make_run_folder, prepare, run_and_show

    make_run_folder(folder)
    if run.recipe.training.text != "features":  # variants without a text head
        sources = replace(sources, text_features=None)
    trainer, skipped = prepare(run.recipe, sources, folder, skip_damaged=skip_damaged)
    if trainer.fabric.is_global_zero:
        rows = "; ".join(f"table {table}: {variant.name}" for table, variant in run.rows)
        err_console().print(f"{rows}, seed {run.recipe.training.seed}; {len(skipped)} images skipped", soft_wrap=True)
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
