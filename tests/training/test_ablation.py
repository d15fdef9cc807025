"""The paper's tables as runs: each once, under names that stay."""

from __future__ import annotations

from typing import Any

import pytest

from fer_edge.errors import ConfigError
from fer_edge.training.ablation import ABLATIONS, planned_runs, standard_error
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
