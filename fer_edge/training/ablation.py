"""Ablations: plan and train the variants of the paper's tables."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fer_edge._files import as_path, check_output, make_folder
from fer_edge._lock import lock_folder
from fer_edge._settings import convert
from fer_edge.errors import ConfigError, NonFiniteError
from fer_edge.progress import Progress, silent
from fer_edge.training.ablation_results import (
    ABLATIONS,
    AblationResult,
    RunResult,
    Variant,
    read_results,
    row_order,
    write_results,
)
from fer_edge.training.devices import is_first_process, make_fabric
from fer_edge.training.recipe import Recipe, change_settings
from fer_edge.training.results import TrainingResult
from fer_edge.training.run import Display, PathLike, configure, make_sources, no_display, run_recipe
from fer_edge.training.stop import TrainingStopped

FIXED_TEXT = ("frozen", "fine-tuned")  # text sides that use prompts
CSV_FILE = "table.csv"  # in the folder of the runs
logger = logging.getLogger("fer_edge")


@dataclass(frozen=True)
class Run:
    """One training; variants with equal settings share it, also across tables."""

    name: str  # name of its folder
    recipe: Recipe
    rows: tuple[tuple[str, Variant], ...]  # table and variant


def ablate(
    data: PathLike,
    out: PathLike,
    *,
    tables: Sequence[str] = ("IV", "VI"),
    recipe: PathLike = "ablation-ferplus",
    settings: Mapping[str, Any] | None = None,
    runs: int = 1,
    stem_weights: PathLike | None = None,
    text_features: PathLike | None = None,
    valid_data: PathLike | None = None,
    skip_damaged: bool = False,
    threads: int | None = None,
    display: Display = no_display,
    progress: Progress = silent,
) -> AblationResult | None:
    """Train the variants of the paper's tables, or continue an interrupted ablation.

    Finished trainings are not repeated. `table.csv` in the output folder has a row for each finished training.

    Args:
        data: Data set with a training split.
        out: Folder of the runs.
        tables: Tables of the paper: "IV", "V", "VI".
        recipe: Shipped training recipe, or a TOML file.
        settings: Values that replace the recipe's, by name.
        runs: Number of trainings of each variant, with different seeds.
        stem_weights: face.evoLVe's IR_50 weights for the stem.
        text_features: File of text features for the variants with a text head.
        valid_data: Separate validation images.
        skip_damaged: Whether to skip images that cannot be read.
        threads: Number of CPU threads; PyTorch's choice by default.
        display: Function that makes the progress display of a training.
        progress: Progress display of reading the images.

    Returns:
        Rows of the tables, and failed runs; None in all processes but the first.

    Raises:
        TrainingStopped: A signal that stopped the ablation.
        ConfigError: Unknown tables or settings, or settings that the tables vary.
        FerEdgeError: Unusable data, model or devices, or a file that cannot be written.
    """
    sources = make_sources(data, valid_data, None, stem_weights, text_features)
    folder = as_path(out, "the output")
    changed, base = configure(recipe, settings or {}, sources)
    planned = plan_runs(changed, tables, runs, settings)
    check_output(folder, *sources.paths())
    if threads is not None:
        torch.set_num_threads(threads)
    read_results(folder / CSV_FILE)  # a file of another kind is an error before hours of training

    def train_run(run: Run) -> TrainingResult | None:
        if is_first_process():
            rows = "; ".join(f"table {table}: {variant.name}" for table, variant in run.rows)
            logger.info("%s, seed %d", rows, run.recipe.training.seed)
        # Variants without a text head use no text features.
        fixed = replace(sources, text_features=None) if run.recipe.training.text != "features" else sources
        place = folder / run.name
        return run_recipe(run.recipe, fixed, place, skip_damaged=skip_damaged, display=display, progress=progress)

    with _lock_in_first_process(folder, base):
        results, failed = run_all(planned, train_run, lambda rows: write_results(folder / CSV_FILE, rows))
    if not is_first_process():
        return None
    return AblationResult(changed, tuple(results), {name: str(error) for name, error in failed.items()})


@contextmanager
def _lock_in_first_process(folder: Path, recipe: Recipe) -> Iterator[None]:
    """Create the folder, and lock it in the first process of the run."""
    make_folder(folder)
    with lock_folder(folder) if make_fabric(recipe.training).is_global_zero else nullcontext():
        yield


def plan_runs(
    recipe: Mapping[str, Any], tables: Sequence[str], runs: int, user_settings: Mapping[str, Any] | None = None
) -> list[Run]:
    """Plan the trainings of some tables, each once.

    Args:
        recipe: Recipe as plain data, with the user's settings; settings of the variants replace them.
        tables: Names in `ABLATIONS`.
        runs: Number of trainings of each variant; their seeds count up from the recipe's.
        user_settings: Settings of the user, which must not be among the varied ones.

    Raises:
        ConfigError: Unknown table, a recipe that does not fit it, or a setting that the tables vary.
    """
    tables = list(dict.fromkeys(tables))
    unknown = [table for table in tables if table not in ABLATIONS]
    if unknown:
        raise ConfigError(f"no table {', '.join(unknown)}; expected some of: {', '.join(ABLATIONS)}")
    base = convert(recipe, Recipe)
    _check_not_varied(tables, [*_names(user_settings or {}), *_names({"model": base.model})])
    if "V" in tables and base.training.text not in FIXED_TEXT:
        raise ConfigError(
            f"table V compares prompts, which text = {base.training.text!r} does not use; "
            "use a text tower: --set text=frozen, with --set text_weights=TAG or a file"
        )
    rows: dict[str, list[tuple[str, Variant]]] = {}
    for table in tables:
        for variant in ABLATIONS[table].variants:
            rows.setdefault(_run_name(variant), []).append((table, variant))
    first = base.training.seed
    return [
        Run(
            f"{name}-seed{seed}",
            convert(change_settings(recipe, {**shared[0][1].settings, "seed": seed}), Recipe),
            tuple(shared),
        )
        for seed in range(first, first + runs)
        for name, shared in rows.items()
    ]


def run_all(
    runs: Sequence[Run],
    train_run: Callable[[Run], TrainingResult | None],
    save: Callable[[list[RunResult]], None],
) -> tuple[list[RunResult], dict[str, NonFiniteError]]:
    """Train every run. A run that fails with NaN or infinity does not stop the others.

    Args:
        runs: Result of `plan_runs`.
        train_run: Function that trains a run; it returns None in all processes but the first.
        save: Callback that receives all rows so far after each run.

    Returns:
        Rows in the order of the tables, and the error of each failed run by its name.

    Raises:
        TrainingStopped: A signal that stopped a run.
    """
    rows: list[RunResult] = []
    failed: dict[str, NonFiniteError] = {}
    for run in runs:
        try:
            result = train_run(run)
        except NonFiniteError as error:
            failed[run.name] = error
            continue
        except TrainingStopped:
            if is_first_process():
                logger.info("%d rows of finished trainings are in %s", len(rows), CSV_FILE)
            raise
        if result is not None:
            rows = sorted([*rows, *_rows(run, result)], key=lambda row: row_order(vars(row)))
            save(rows)
    return rows, failed


def _rows(run: Run, result: TrainingResult) -> Iterator[RunResult]:
    """Make the rows of a finished training, one for each variant that shares it."""
    for table, variant in run.rows:
        yield RunResult(
            table=table,
            variant=variant.name,
            seed=run.recipe.training.seed,
            accuracy=result.best.accuracy,
            best_epoch=result.best.epoch + 1,
            last_accuracy=result.epochs[-1].accuracy,
            mean_class_accuracy=result.best.mean_class_accuracy,
            validation_images=result.validation_images,
            paper=variant.paper,
        )


def _names(settings: Mapping[str, Any]) -> list[str]:
    """Return the names of settings; those in tables as `model.grid`."""
    inner = [
        [f"{name}.{key}" for key in value] if isinstance(value, Mapping) else [name] for name, value in settings.items()
    ]
    return [name.removeprefix("training.") for names in inner for name in names]


def _check_not_varied(tables: Sequence[str], names: Sequence[str]) -> None:
    """Check that no setting of the user is one that the tables vary."""
    for table in tables:
        varied = {name for variant in ABLATIONS[table].variants for name in variant.settings} - {"text"}
        for name in names:
            if name in varied:
                raise ConfigError(f"{name} has no effect: table {table} sets it in its variants; leave it out")


def _run_name(variant: Variant) -> str:
    """Name a run after the first variant with its settings in any table, so that other tables can reuse the run."""
    for table, ablation in ABLATIONS.items():
        for other in ablation.variants:
            if other.settings == variant.settings:
                return f"{table}-{re.sub(r'[^a-zA-Z0-9]+', '-', other.name)}".lower()
    raise AssertionError("every variant is part of a table")
