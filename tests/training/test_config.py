"""Settings: what cannot be right is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from fer_edge.errors import ConfigError
from fer_edge.training.config import TrainingConfig
from fer_edge.training.recipe import Recipe, changed, parse_settings, read_recipe, recipe_names


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs is 0; expected at least 1"),
        ({"label_smoothing": 2.0}, "label_smoothing is 2.0; expected 0 to 1"),
        ({"schedule": "linear"}, "schedule is 'linear'; expected one of: one-cycle, cosine, step"),
        ({"batch": 10, "devices": 4}, "a batch of 10 cannot be shared by 4 processes alike"),
        ({"batch": 6, "devices": 2, "mixup": 0.2}, "mixup blends pairs"),
        ({"targets": "multi_target", "mixup": 0.2}, "multi_target go with neither mixup"),
        ({"epoch": 3}, "training settings not understood: .*epoch"),
        ({"augmentation": {"spin": 1}}, "training settings not understood: .*spin"),
    ],
)
def test_settings_that_cannot_be_right(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingConfig.from_dict(settings)


def test_every_shipped_recipe_is_complete() -> None:
    assert set(recipe_names()) >= {"edge-ferplus", "paper-ferplus", "paper-rafdb", "paper-sfew"}
    for name in recipe_names():
        recipe = Recipe.from_dict(read_recipe(name))
        assert recipe.model_config(7).classes == 7
        if recipe.preset == "paper":
            training = recipe.training
            assert (training.optimizer, training.batch, training.learning_rate) == ("sgd", 16, 1e-4)
            assert (training.schedule, training.step_epochs, training.step_factor) == ("step", 30, 0.1)


def test_settings_change_a_recipe() -> None:
    given = ["epochs=3", "augmentation.flip=0", "model.patches=[2, 7]", "model.stem.input_width=8", "text=frozen"]
    recipe = Recipe.from_dict(changed(read_recipe("paper-rafdb"), parse_settings(given)))
    assert (recipe.training.epochs, recipe.training.augmentation.flip, recipe.training.text) == (3, 0, "frozen")
    assert recipe.training.augmentation.grey == 0.3  # the rest of the table stays
    edge = Recipe.from_dict(changed(read_recipe("edge-ferplus"), parse_settings(given[2:4])))
    config = edge.model_config(8)
    assert (config.patches, config.stem.input_width, config.stem.color) == ((2, 7), 8, "grey")


def test_recipes_that_are_none(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match=r"no recipe 'papr'; expected a \.toml file or one of: edge-ferplus"):
        read_recipe("papr")
    (tmp_path / "a.toml").write_text("epochs = ")
    with pytest.raises(ConfigError, match="is no TOML"):
        read_recipe(str(tmp_path / "a.toml"))
    with pytest.raises(ConfigError, match="recipe settings not known: epochs"):
        Recipe.from_dict({"epochs": 3})
    with pytest.raises(ConfigError, match="expected KEY=VALUE"):
        parse_settings(["epochs"])
