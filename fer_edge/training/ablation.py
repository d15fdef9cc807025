"""The paper's ablations, Tables IV, V and VI, as variants of one recipe."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fer_edge._files import write_atomically
from fer_edge.errors import ConfigError
from fer_edge.training.loop import EpochResult, Trainer
from fer_edge.training.recipe import Recipe, changed

FIXED_TEXT = ("frozen", "fine-tuned")  # text sides that read prompts
GRID = {"model.grid": 12}  # the paper's, which all its patches divide; other presets' maps are pooled to it
ALL_PATCHES = {"model.patches": [2, 4, 6, 12]}
NO_TEXT = {"model.text_head": False, "text": "learned"}


@dataclass(frozen=True)
class Variant:
    """One row of a table."""

    name: str
    settings: Mapping[str, Any]  # of a recipe, see `recipe.changed`
    paper: tuple[float, float]  # accuracy in percent that the paper gives, on RAF-DB and on FERPlus


@dataclass(frozen=True)
class Ablation:
    """One table."""

    title: str
    variants: tuple[Variant, ...]


def _variant(name: str, settings: Mapping[str, Any], rafdb: float, ferplus: float) -> Variant:
    return Variant(name, {**GRID, **ALL_PATCHES, **settings}, (rafdb, ferplus))


ABLATIONS: dict[str, Ablation] = {
    "IV": Ablation(
        "MGEI (patches of several sizes) and HDSS (steering token and text head)",
        (
            _variant("neither", {"model.patches": [2], **NO_TEXT}, 89.80, 90.07),
            _variant("MGEI", NO_TEXT, 90.45, 90.39),
            _variant("HDSS", {"model.patches": [2]}, 90.81, 90.71),
            _variant("MGEI and HDSS", {}, 91.30, 90.96),
        ),
    ),
    "V": Ablation(
        "prompts",
        (
            _variant("without text", NO_TEXT, 90.45, 90.39),
            _variant("single word", {"templates": ["word"]}, 90.81, 90.61),
            _variant("phrase", {"templates": ["phrase"]}, 91.30, 90.90),
            _variant("active sentence", {"templates": ["active"]}, 91.13, 90.96),
            _variant("passive sentence", {"templates": ["passive"]}, 90.97, 90.87),
        ),
    ),
    "VI": Ablation(
        "patch sizes",
        (
            _variant("2", {"model.patches": [2]}, 90.81, 90.71),
            _variant("3", {"model.patches": [3]}, 90.38, 90.39),
            _variant("4", {"model.patches": [4]}, 90.91, 90.10),
            _variant("6", {"model.patches": [6]}, 90.48, 90.42),
            _variant("2, 4, 6", {"model.patches": [2, 4, 6]}, 90.81, 90.45),
            _variant("2, 4, 6, 12", {}, 91.30, 90.96),
        ),
    ),
}


@dataclass(frozen=True)
class Run:
    """One training: variants of equal settings share it, in whichever table they stand."""

    name: str  # of its folder
    recipe: Recipe
    rows: tuple[tuple[str, Variant], ...]  # table and variant


@dataclass(frozen=True)
class RunResult:
    """What a variant came to with one seed; accuracies in percent on the validation images."""

    table: str
    variant: str
    seed: int
    accuracy: float  # of the best epoch
    best_epoch: int
    last_accuracy: float  # of the last one, which nobody chose
    mean_class_accuracy: float  # of the best epoch
    validation_images: int
    paper: tuple[float, float]  # see `Variant`


def planned_runs(recipe: Mapping[str, Any], tables: Sequence[str], seeds: int) -> list[Run]:
    """Every training that the tables need, each once.

    Args:
        recipe: A recipe as plain data, with the user's settings; a variant's own settings win.
        tables: Of `ABLATIONS`.
        seeds: Trainings of each variant; their seeds count up from the recipe's.

    Raises:
        ConfigError: A table is not known, or the recipe does not fit it.
    """
    unknown = [table for table in tables if table not in ABLATIONS]
    if unknown:
        raise ConfigError(f"no table {', '.join(unknown)}; expected some of: {', '.join(ABLATIONS)}")
    base = Recipe.from_dict(recipe)
    if "V" in tables and base.training.text not in FIXED_TEXT:
        raise ConfigError(
            f"table V compares prompts, which text = {base.training.text!r} does not read; "
            "give a text tower: --set text=frozen, with --set text_weights=TAG or a file"
        )
    rows: dict[str, list[tuple[str, Variant]]] = {}
    for table in tables:
        for variant in ABLATIONS[table].variants:
            rows.setdefault(_run_name(variant), []).append((table, variant))
    first = base.training.seed
    return [
        Run(
            f"{name}-seed{seed}",
            Recipe.from_dict(changed(recipe, {**shared[0][1].settings, "seed": seed})),
            tuple(shared),
        )
        for seed in range(first, first + seeds)
        for name, shared in rows.items()
    ]


def results_of(run: Run, trainer: Trainer, best: EpochResult) -> Iterator[RunResult]:
    """A finished training as rows of its tables."""
    for table, variant in run.rows:
        yield RunResult(
            table=table,
            variant=variant.name,
            seed=run.recipe.training.seed,
            accuracy=best.accuracy,
            best_epoch=best.epoch + 1,
            last_accuracy=trainer.results[-1].accuracy,
            mean_class_accuracy=best.mean_class_accuracy,
            validation_images=len(trainer.data.valid_labels),
            paper=variant.paper,
        )


def standard_error(accuracy: float, images: int) -> float:
    """Of an accuracy in percent, from the number of images alone: what another sample of images would change."""
    share = accuracy / 100
    return 100 * math.sqrt(share * (1 - share) / images)


def run_ablation(
    runs: Sequence[Run], folder: Path, train: Callable[[Run, Path], tuple[Trainer, EpochResult]]
) -> list[RunResult]:
    """Train every run in a folder of its own; one that is finished there is not trained again.

    Returns:
        Rows in the order of the tables.
    """
    found = [row for run in runs for row in results_of(run, *train(run, folder / run.name))]
    order = [(table, variant.name) for table, ablation in ABLATIONS.items() for variant in ablation.variants]
    return sorted(found, key=lambda row: (order.index((row.table, row.variant)), row.seed))


def write_results(path: Path, results: Sequence[RunResult]) -> None:
    """Rows as CSV."""
    text = io.StringIO()
    names = [field.name for field in fields(RunResult) if field.name != "paper"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, "paper_rafdb", "paper_ferplus"])
    writer.writerows([*(getattr(result, name) for name in names), *result.paper] for result in results)
    write_atomically(path, text.getvalue().encode())


def _run_name(variant: Variant) -> str:
    """Named after the first variant with these settings, so that tables asked for later find the run."""
    for table, ablation in ABLATIONS.items():
        for other in ablation.variants:
            if other.settings == variant.settings:
                return f"{table}-{re.sub(r'[^a-zA-Z0-9]+', '-', other.name)}".lower()
    raise AssertionError("every variant stands in a table")
