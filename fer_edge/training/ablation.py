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
from fer_edge.errors import ConfigError, FerEdgeError, NonFiniteError
from fer_edge.training.loop import Trainer
from fer_edge.training.recipe import Recipe, changed
from fer_edge.training.results import EpochResult

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


def planned_runs(
    recipe: Mapping[str, Any], tables: Sequence[str], seeds: int, given: Mapping[str, Any] | None = None
) -> list[Run]:
    """Every training that the tables need, each once.

    Args:
        recipe: A recipe as plain data, with the user's settings; a variant's own settings win.
        tables: Of `ABLATIONS`.
        seeds: Trainings of each variant; their seeds count up from the recipe's.
        given: Settings among them that the user gave.

    Raises:
        ConfigError: A table is not known, the recipe does not fit it, or a setting is what the tables vary.
    """
    tables = list(dict.fromkeys(tables))
    unknown = [table for table in tables if table not in ABLATIONS]
    if unknown:
        raise ConfigError(f"no table {', '.join(unknown)}; expected some of: {', '.join(ABLATIONS)}")
    base = Recipe.from_dict(recipe)
    _check_free(tables, [*_names(given or {}), *_names({"model": base.model})])
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
    runs: Sequence[Run],
    folder: Path,
    train: Callable[[Run, Path], tuple[Trainer, EpochResult]],
    finished: Callable[[list[RunResult]], None],
) -> tuple[list[RunResult], dict[str, NonFiniteError]]:
    """Train every run in a folder of its own; one that is finished there is not trained again.

    A training whose numbers are lost does not stop the others.

    Args:
        runs: Of `planned_runs`.
        folder: Of the ablation.
        train: Trains a run in its folder to the end.
        finished: Is given the rows so far after each run.

    Returns:
        Rows in the order of the tables, and the error of each run that failed, by the run's name.
    """
    rows: list[RunResult] = []
    failed: dict[str, NonFiniteError] = {}
    for run in runs:
        try:
            rows = sorted([*rows, *results_of(run, *train(run, folder / run.name))], key=lambda row: _order(vars(row)))
        except NonFiniteError as error:
            failed[run.name] = error
            continue
        finished(rows)
    return rows, failed


_COLUMNS = [*(field.name for field in fields(RunResult) if field.name != "paper"), "paper_rafdb", "paper_ferplus"]


def read_results(path: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    """Rows of a CSV file by table, variant and seed; none where there is no file.

    Raises:
        FerEdgeError: The file is something else or cannot be read.
    """
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader) if reader.fieldnames == _COLUMNS else None
    except (OSError, ValueError, csv.Error) as error:
        raise FerEdgeError(f"{path} cannot be read: {error}; move it away") from error
    if rows is None:
        raise FerEdgeError(f"{path} is no table of fer-edge ablate: it has other columns; move it away")
    return {(row["table"], row["variant"], row["seed"]): row for row in rows}


def write_results(path: Path, results: Sequence[RunResult]) -> None:
    """Write rows as CSV; rows of other tables, variants and seeds that the file has stay.

    Raises:
        FerEdgeError: The file is something else, or cannot be read or written.
    """
    rows = read_results(path)
    for result in results:
        values = [*(getattr(result, name) for name in _COLUMNS[:-2]), *result.paper]
        row = {name: str(value) for name, value in zip(_COLUMNS, values, strict=True)}
        rows[row["table"], row["variant"], row["seed"]] = row
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows.values(), key=_order))
    write_atomically(path, text.getvalue().encode())


def _order(row: Mapping[str, Any]) -> tuple[int, str, str, int]:
    """Where a row stands among others; rows of tables that this version does not know come last."""
    places = [(table, variant.name) for table, ablation in ABLATIONS.items() for variant in ablation.variants]
    key = (row["table"], row["variant"])
    return places.index(key) if key in places else len(places), *key, int(row["seed"])


def _names(settings: Mapping[str, Any]) -> list[str]:
    """Names of settings, those in tables one by one: `model.grid`."""
    inner = [
        [f"{name}.{key}" for key in value] if isinstance(value, Mapping) else [name] for name, value in settings.items()
    ]
    return [name.removeprefix("training.") for names in inner for name in names]


def _check_free(tables: Sequence[str], given: Sequence[str]) -> None:
    for table in tables:
        varied = {name for variant in ABLATIONS[table].variants for name in variant.settings} - {"text"}
        for name in given:
            if name in varied:
                raise ConfigError(f"{name} has no effect: table {table} sets it in its variants; leave it out")


def _run_name(variant: Variant) -> str:
    """Named after the first variant with these settings, so that tables asked for later find the run."""
    for table, ablation in ABLATIONS.items():
        for other in ablation.variants:
            if other.settings == variant.settings:
                return f"{table}-{re.sub(r'[^a-zA-Z0-9]+', '-', other.name)}".lower()
    raise AssertionError("every variant stands in a table")
