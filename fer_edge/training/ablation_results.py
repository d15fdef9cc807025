"""The paper's ablations, Tables IV, V and VI, as changes of a recipe; their results, and the CSV file of these."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fer_edge._files import write_atomically
from fer_edge.errors import FerEdgeError
from fer_edge.results import Result, Table

GRID = {"model.grid": 12}  # the paper's grid, which all of its patches divide; maps of other presets are pooled to it
ALL_PATCHES = {"model.patches": [2, 4, 6, 12]}
NO_TEXT = {"model.text_head": False, "text": "learned"}
COLUMNS = ("variant", "best %", "standard error", "last %", "seeds", "paper: RAF-DB %", "paper: FERPlus %")


@dataclass(frozen=True)
class Variant:
    """One row of a table."""

    name: str
    settings: Mapping[str, Any]  # settings of a recipe, see `recipe.change_settings`
    paper: tuple[float, float]  # accuracy in the paper in percent, on RAF-DB and on FERPlus


@dataclass(frozen=True)
class Ablation:
    """One table of the paper."""

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
class RunResult:
    """Accuracies of a variant with one seed, in percent on the validation images."""

    table: str
    variant: str
    seed: int
    accuracy: float  # of the best epoch
    best_epoch: int
    last_accuracy: float  # of the last epoch, which is free of selection
    mean_class_accuracy: float  # of the best epoch
    validation_images: int
    paper: tuple[float, float]  # see `Variant`


@dataclass(frozen=True)
class AblationResult(Result):
    """Result of an ablation: a row for each variant and seed."""

    recipe: dict[str, Any]
    runs: tuple[RunResult, ...]
    failed: dict[str, str]  # error by name of the run

    def tables(self) -> Sequence[Table]:
        names = dict.fromkeys(result.table for result in self.runs)
        return tuple(_table(name, [result for result in self.runs if result.table == name]) for name in names)


def _table(name: str, results: Sequence[RunResult]) -> Table:
    rows = []
    for variant in dict.fromkeys(result.variant for result in results):
        runs = [result for result in results if result.variant == variant]
        best = sum(run.accuracy for run in runs) / len(runs)
        last = sum(run.last_accuracy for run in runs) / len(runs)
        error = standard_error(best, runs[0].validation_images)
        rows.append((variant, f"{best:.2f}", f"{error:.2f}", f"{last:.2f}", len(runs), *runs[0].paper))
    return Table(f"Table {name}: {ABLATIONS[name].title}", COLUMNS, tuple(rows))


def standard_error(accuracy: float, images: int) -> float:
    """Return the standard error of an accuracy, both in percent, due to the choice of the images."""
    share = accuracy / 100
    return 100 * math.sqrt(share * (1 - share) / images)


_CSV_COLUMNS = [*(field.name for field in fields(RunResult) if field.name != "paper"), "paper_rafdb", "paper_ferplus"]


def read_results(path: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    """Read a CSV file of results; rows by table, variant and seed. A missing file has no rows.

    Raises:
        FerEdgeError: Unreadable file, or another kind of file.
    """
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader) if reader.fieldnames == _CSV_COLUMNS else None
    except (OSError, ValueError, csv.Error) as error:
        raise FerEdgeError(f"{path} cannot be read: {error}; move it away") from error
    if rows is None:
        raise FerEdgeError(f"{path} is not a table of fer-edge ablate: it has other columns; move it away")
    return {(row["table"], row["variant"], row["seed"]): row for row in rows}


def write_results(path: Path, results: Sequence[RunResult]) -> None:
    """Write results to a CSV file; its rows of other tables, variants and seeds stay.

    Raises:
        FerEdgeError: A file that cannot be read or written, or another kind of file.
    """
    rows = read_results(path)
    for result in results:
        values = [*(getattr(result, name) for name in _CSV_COLUMNS[:-2]), *result.paper]
        row = {name: str(value) for name, value in zip(_CSV_COLUMNS, values, strict=True)}
        rows[row["table"], row["variant"], row["seed"]] = row
    text = io.StringIO()
    writer = csv.DictWriter(text, _CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows.values(), key=row_order))
    write_atomically(path, text.getvalue().encode())


def row_order(row: Mapping[str, Any]) -> tuple[int, str, str, int]:
    """Return the sort key of a row: the order of the paper, then unknown tables by name."""
    order = [(table, variant.name) for table, ablation in ABLATIONS.items() for variant in ablation.variants]
    key = (row["table"], row["variant"])
    return order.index(key) if key in order else len(order), *key, int(row["seed"])
