"""Settings without effect are refused if a user sets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fer_edge._settings import convert
from fer_edge.errors import ConfigError
from fer_edge.shipped import shipped_names
from fer_edge.training.effects import check_effects, check_recipe_file
from fer_edge.training.initialization import Sources
from fer_edge.training.recipe import Recipe, change_settings, read_recipe

DATA, EDGE = Sources(Path("faces")), read_recipe("edge-ferplus")
INIT = Sources(Path("faces"), init=Path("a.safetensors"))
WITH_TEACHER = Sources(Path("faces"), teachers=[Path("a.safetensors")])


def check(settings: dict[str, Any], sources: Sources = DATA) -> None:
    check_effects(settings, convert(change_settings(EDGE, settings), Recipe), sources)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"momentum": 0.5}, "momentum has no effect without optimizer = sgd; leave it out"),
        ({"training.momentum": 0.5}, "momentum has no effect without optimizer = sgd"),
        ({"warmup": 0.3, "schedule": "step"}, "warmup has no effect without a schedule other than step"),
        ({"step_epochs": 3}, "step_epochs has no effect without schedule = step"),
        ({"step_factor": 0.5, "schedule": "cosine"}, "step_factor has no effect without schedule = step"),
        ({"distillation": 0.5}, r"distillation has no effect without a teacher \(--teacher\)"),
        ({"distillation_view": "clean"}, r"distillation_view has no effect without a teacher \(--teacher\)"),
        (
            {"augmentation.cover": 0.5, "augmentation.erasing": 0.0},
            "augmentation.cover has no effect without augmentation.erasing above 0",
        ),
        (
            {"augmentation.smoothing": 0.2},
            "augmentation.smoothing has no effect without augmentation.cover or augmentation.degradation.share above 0",
        ),
        (
            {"training.augmentation.degradation.blur": 0.02},
            "augmentation.degradation.blur has no effect without augmentation.degradation.share above 0",
        ),
        ({"text_model": "RN50"}, "--text-model has no effect without text = frozen or fine-tuned"),
        ({"text_weights": "openai", "text": "features"}, "--text-weights has no effect without text = frozen or"),
        ({"templates": ["word"]}, "--template has no effect without text = frozen or fine-tuned"),
        ({"text": "frozen", "model.text_head": False}, "--text-side has no effect without a model with a text head"),
        ({"text_rate": 0.5, "model.text_head": False}, "text_rate has no effect without a model with a text head"),
        ({"early_stop": 12}, "early_stop has no effect without more epochs than its value"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(settings)


def test_files_without_effect_are_refused() -> None:
    with pytest.raises(ConfigError, match="--teacher has no effect with distillation = 0"):
        check({"distillation": 0.0}, WITH_TEACHER)
    with pytest.raises(ConfigError, match=r"a file of text features needs text = \"features\", not 'learned'"):
        check({}, Sources(Path("faces"), text_features=Path("t.safetensors")))


@pytest.mark.parametrize(
    "settings",
    [
        {"momentum": 0.5, "optimizer": "sgd"},
        {"augmentation.degradation.blur": 0.02, "augmentation.degradation.share": 0.5},
        {"step_epochs": 2, "schedule": "step"},
        {"templates": ["word"], "text": "frozen"},
        {"text": "learned", "model.text_head": False},
        {"early_stop": 3, "epochs": 4},
    ],
)
def test_settings_with_an_effect_are_accepted(settings: dict[str, Any]) -> None:
    check(settings)


def test_shipped_recipes_accept_other_options(tmp_path: Path) -> None:
    for name in shipped_names("training recipe"):
        data = read_recipe(name)
        check_recipe_file(name, data, convert(change_settings(data, {"text": "learned"}), Recipe), INIT)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"model": {"depth": 1}}, r"--init defines the model; leave model out of the recipe mine\.toml"),
        ({"preset": "paper", "model": {}}, "leave preset and model out of the recipe"),
        (
            {"training": {"augmentation": {"degradation": {"noise": 0.1}}}},
            r"augmentation\.degradation\.noise in the recipe mine\.toml has no effect without",
        ),
        ({"training": {"momentum": 0.5}}, r"momentum in the recipe mine\.toml has no effect without optimizer = sgd"),
    ],
)
def test_a_users_recipe_is_checked(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_recipe_file("mine.toml", data, convert(data, Recipe), INIT)


def test_a_users_recipe_may_be_changed_by_options() -> None:
    for data, options in (
        ({"training": {"text_model": "RN50"}}, {"text": "frozen"}),
        ({"training": {"text_model": "RN50", "text": "frozen"}}, {"text": "learned"}),
    ):
        check_recipe_file("mine.toml", data, convert(change_settings(data, options), Recipe), DATA)
