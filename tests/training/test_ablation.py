"""Ablations: planned runs, results, CSV file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fer_edge.errors import ConfigError, FerEdgeError, NonFiniteError
from fer_edge.training.ablation import plan_runs, run_all
from fer_edge.training.ablation_results import ABLATIONS, RunResult, read_results, standard_error, write_results
from fer_edge.training.recipe import change_settings, read_recipe

EDGE = read_recipe("ablation-ferplus")
TOWER = change_settings(EDGE, {"text": "frozen"})


def test_tables_share_runs() -> None:
    runs = plan_runs(TOWER, ["IV", "V", "VI"], 1)
    assert sum(len(run.rows) for run in runs) == 15 and len(runs) == 12
    by_name = {run.name: [(table, variant.name) for table, variant in run.rows] for run in runs}
    assert by_name["iv-hdss-seed0"] == [("IV", "HDSS"), ("VI", "2")]
    assert by_name["iv-mgei-seed0"] == [("IV", "MGEI"), ("V", "without text")]
    # The name of a run does not depend on the chosen tables.
    assert {run.name for run in plan_runs(TOWER, ["VI"], 1)} < set(by_name)


def test_variants_match_the_paper() -> None:
    models: dict[str, Any] = {
        run.rows[0][1].name: run.recipe.model_config(8) for run in plan_runs(EDGE, ["IV", "VI"], 1)
    }
    assert all(model.grid == 12 for model in models.values())
    assert models["neither"].patches == (2,) and not models["neither"].text_head
    assert models["MGEI"].patches == (2, 4, 6, 12) and not models["MGEI"].text_head
    assert models["HDSS"].patches == (2,) and models["HDSS"].text_head
    assert models["2, 4, 6"].patches == (2, 4, 6)
    words = {run.rows[-1][1].name: run.recipe.training.templates for run in plan_runs(TOWER, ["V"], 1)}
    assert words["passive sentence"] == ("passive",) and words["single word"] == ("word",)
    best = {name: max(ablation.variants, key=lambda variant: variant.paper[1]) for name, ablation in ABLATIONS.items()}
    assert {name: variant.paper[1] for name, variant in best.items()} == {"IV": 90.96, "V": 90.96, "VI": 90.96}


def test_seeds_count_up_and_user_settings_stay() -> None:
    runs = plan_runs(change_settings(EDGE, {"seed": 5, "epochs": 2}), ["IV"], 2)
    assert [run.recipe.training.seed for run in runs] == [5] * 4 + [6] * 4
    assert runs[-1].name == "iv-mgei-and-hdss-seed6" and runs[-1].recipe.training.epochs == 2


def test_unknown_and_unsuitable_tables_are_refused() -> None:
    with pytest.raises(ConfigError, match="no table VII; expected some of: IV, V, VI"):
        plan_runs(EDGE, ["VII"], 1)
    with pytest.raises(ConfigError, match="table V compares prompts, which text = 'learned' does not use"):
        plan_runs(EDGE, ["V"], 1)


def test_standard_error_matches_values_by_hand() -> None:
    assert standard_error(50, 100) == 5
    assert standard_error(88, 3191) == pytest.approx(0.575, abs=1e-3)


def row(table: str, variant: str, seed: int = 0, accuracy: float = 50.0) -> RunResult:
    return RunResult(table, variant, seed, accuracy, 1, accuracy, accuracy, 12, (90.0, 91.0))


def test_rows_of_other_tables_and_seeds_stay(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_results(path, [row("VI", "2", 1), row("VI", "2", 0)])
    write_results(path, [row("IV", "MGEI")])
    write_results(path, [row("VI", "2", 1, 75.0)])
    rows = [(*key, values["accuracy"]) for key, values in read_results(path).items()]
    assert rows == [("IV", "MGEI", "0", "50.0"), ("VI", "2", "0", "50.0"), ("VI", "2", "1", "75.0")]


def test_a_csv_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("name,figure\na,1\n")
    with pytest.raises(
        FerEdgeError, match=r"table\.csv is not a table of fer-edge ablate: it has other columns; move it"
    ):
        write_results(path, [row("IV", "MGEI")])
    assert path.read_text() == "name,figure\na,1\n"


def test_a_failed_run_does_not_stop_the_others() -> None:
    runs = plan_runs(EDGE, ["IV"], 1)
    finished: list[int] = []

    def train(run: Any) -> Any:
        if run.name.startswith("iv-mgei-seed"):
            raise NonFiniteError("the loss is NaN")
        result = SimpleNamespace(accuracy=50.0, epoch=0, mean_class_accuracy=40.0)
        return SimpleNamespace(best=result, epochs=(result,), validation_images=2)

    rows, failed = run_all(runs, train, lambda rows: finished.append(len(rows)))
    assert [row.variant for row in rows] == ["neither", "HDSS", "MGEI and HDSS"] and finished == [1, 2, 3]
    assert list(failed) == ["iv-mgei-seed0"]


def test_settings_that_a_table_varies_are_refused() -> None:
    settings: dict[str, Any]
    for table, settings, name in (
        ("IV", {"model.patches": [2]}, "model.patches"),
        ("IV", {"model": {"text_head": False}}, "model.text_head"),
        ("VI", {"model.grid": 7}, "model.grid"),
        ("V", {"templates": ["word"], "text": "frozen"}, "templates"),
    ):
        with pytest.raises(ConfigError, match=f"{name} has no effect: table {table} sets it in its variants"):
            plan_runs(change_settings(EDGE, settings), [table], 1, settings)
    with pytest.raises(ConfigError, match=r"model\.patches has no effect"):  # in a recipe file
        plan_runs({**EDGE, "model": {"patches": [2]}}, ["VI"], 1)
    settings = {"model.text_head": True, "templates": ["word"]}
    assert plan_runs(change_settings(EDGE, settings), ["VI", "VI"], 1, settings) == plan_runs(
        change_settings(EDGE, settings), ["VI"], 1
    )
