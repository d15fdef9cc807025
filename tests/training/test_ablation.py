"""The paper's tables as runs: each once, under names that stay."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fer_edge.errors import ConfigError, FerEdgeError, NonFiniteError
from fer_edge.training.ablation import (
    ABLATIONS,
    RunResult,
    planned_runs,
    read_results,
    run_ablation,
    standard_error,
    write_results,
)
from fer_edge.training.recipe import changed, read_recipe

EDGE = read_recipe("edge-ferplus")
TOWER = changed(EDGE, {"text": "frozen"})


def test_tables_share_runs() -> None:
    runs = planned_runs(TOWER, ["IV", "V", "VI"], 1)
    assert sum(len(run.rows) for run in runs) == 15 and len(runs) == 12
    by_name = {run.name: [(table, variant.name) for table, variant in run.rows] for run in runs}
    assert by_name["iv-hdss-seed0"] == [("IV", "HDSS"), ("VI", "2")]
    assert by_name["iv-mgei-seed0"] == [("IV", "MGEI"), ("V", "without text")]
    # The name of a run does not depend on which tables were asked for.
    assert {run.name for run in planned_runs(TOWER, ["VI"], 1)} < set(by_name)


def test_variants_are_the_papers() -> None:
    models: dict[str, Any] = {
        run.rows[0][1].name: run.recipe.model_config(8) for run in planned_runs(EDGE, ["IV", "VI"], 1)
    }
    assert all(model.grid == 12 for model in models.values())
    assert models["neither"].patches == (2,) and not models["neither"].text_head
    assert models["MGEI"].patches == (2, 4, 6, 12) and not models["MGEI"].text_head
    assert models["HDSS"].patches == (2,) and models["HDSS"].text_head
    assert models["2, 4, 6"].patches == (2, 4, 6)
    words = {run.rows[-1][1].name: run.recipe.training.templates for run in planned_runs(TOWER, ["V"], 1)}
    assert words["passive sentence"] == ("passive",) and words["single word"] == ("word",)
    best = {name: max(ablation.variants, key=lambda variant: variant.paper[1]) for name, ablation in ABLATIONS.items()}
    assert {name: variant.paper[1] for name, variant in best.items()} == {"IV": 90.96, "V": 90.96, "VI": 90.96}


def test_seeds_count_up_and_user_settings_hold() -> None:
    runs = planned_runs(changed(EDGE, {"seed": 5, "epochs": 2}), ["IV"], 2)
    assert [run.recipe.training.seed for run in runs] == [5] * 4 + [6] * 4
    assert runs[-1].name == "iv-mgei-and-hdss-seed6" and runs[-1].recipe.training.epochs == 2


def test_tables_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="no table VII; expected some of: IV, V, VI"):
        planned_runs(EDGE, ["VII"], 1)
    with pytest.raises(ConfigError, match="table V compares prompts, which text = 'learned' does not read"):
        planned_runs(EDGE, ["V"], 1)


def test_standard_error_by_hand() -> None:
    assert standard_error(50, 100) == 5
    assert standard_error(88, 3191) == pytest.approx(0.575, abs=1e-3)


def row(table: str, variant: str, seed: int = 0, accuracy: float = 50.0) -> RunResult:
    return RunResult(table, variant, seed, accuracy, 1, accuracy, accuracy, 12, (90.0, 91.0))


def test_rows_of_other_tables_and_seeds_stay(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_results(path, [row("VI", "2", 1), row("VI", "2", 0)])
    write_results(path, [row("IV", "MGEI")])
    write_results(path, [row("VI", "2", 1, 75.0)])
    kept = [(*key, values["accuracy"]) for key, values in read_results(path).items()]
    assert kept == [("IV", "MGEI", "0", "50.0"), ("VI", "2", "0", "50.0"), ("VI", "2", "1", "75.0")]


def test_another_file_in_the_place_of_the_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("name,figure\na,1\n")
    with pytest.raises(FerEdgeError, match=r"table\.csv is no table of fer-edge ablate: it has other columns; move it"):
        write_results(path, [row("IV", "MGEI")])
    assert path.read_text() == "name,figure\na,1\n"


def test_rows_come_as_trainings_finish_and_one_that_fails_stops_no_other(tmp_path: Path) -> None:
    runs = planned_runs(EDGE, ["IV"], 1)
    finished: list[int] = []

    def train(run: Any, folder: Path) -> tuple[Any, Any]:
        assert folder == tmp_path / run.name
        if run.name.startswith("iv-mgei-seed"):
            raise NonFiniteError("the loss is NaN")
        result = SimpleNamespace(accuracy=50.0, epoch=0, mean_class_accuracy=40.0)
        return SimpleNamespace(results=[result], data=SimpleNamespace(valid_labels=[1, 2])), result

    rows, failed = run_ablation(runs, tmp_path, train, lambda rows: finished.append(len(rows)))
    assert [row.variant for row in rows] == ["neither", "HDSS", "MGEI and HDSS"] and finished == [1, 2, 3]
    assert list(failed) == ["iv-mgei-seed0"]


def test_settings_that_a_table_varies_are_refused() -> None:
    given: dict[str, Any]
    for table, given, name in (
        ("IV", {"model.patches": [2]}, "model.patches"),
        ("IV", {"model": {"text_head": False}}, "model.text_head"),
        ("VI", {"model.grid": 7}, "model.grid"),
        ("V", {"templates": ["word"], "text": "frozen"}, "templates"),
    ):
        with pytest.raises(ConfigError, match=f"{name} has no effect: table {table} sets it in its variants"):
            planned_runs(changed(EDGE, given), [table], 1, given)
    with pytest.raises(ConfigError, match=r"model\.patches has no effect"):  # of a recipe file
        planned_runs({**EDGE, "model": {"patches": [2]}}, ["VI"], 1)
    given = {"model.text_head": True, "templates": ["word"]}
    assert planned_runs(changed(EDGE, given), ["VI", "VI"], 1, given) == planned_runs(changed(EDGE, given), ["VI"], 1)
