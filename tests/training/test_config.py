"""Settings of a run: invalid values, recipes, documentation."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from fer_edge._settings import convert
from fer_edge.errors import ConfigError
from fer_edge.shipped import shipped_names
from fer_edge.training.config import TrainingConfig
from fer_edge.training.recipe import Recipe, change_settings, parse_settings, read_recipe


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs is 0; expected a whole number from 1 to 1000000"),
        ({"label_smoothing": 2.0}, "label_smoothing is 2.0; expected a finite number from 0 to 1"),
        ({"schedule": "linear"}, "schedule is 'linear'; expected one of: one-cycle, cosine, step"),
        ({"batch": 10, "devices": 4}, "a batch of 10 cannot be split equally over 4 processes"),
        ({"batch": 6, "devices": 2, "mixup": 0.2}, "mixup blends pairs"),
        ({"targets": "multi_target", "mixup": 0.2}, "multi_target exclude mixup"),
        ({"epocs": 3}, r"training\.epocs is not known; did you mean training\.epochs\?"),
        ({"augmentation": {"spin": 1}}, r"training\.augmentation\.spin is not known; expected some of: flip"),
        ({"augmentation": {"flip": 7}}, r"augmentation\.flip is 7; expected a finite number from 0 to 1"),
        ({"augmentation": {"flip": True}}, r"augmentation\.flip is True; expected a finite number"),
        ({"augmentation": 5}, r"training\.augmentation is 5; expected a table"),
        ({"compile": "off"}, "compile is 'off'; expected true or false"),
        ({"amp": 1}, "amp is 1; expected true or false"),
        ({"epochs": 2.5}, r"epochs is 2\.5; expected a whole number"),
        ({"epochs": True}, "epochs is True; expected a whole number"),
        ({"seed": "abc"}, "seed is 'abc'; expected a whole number"),
        ({"seed": -1}, "seed is -1; expected a whole number from 0 to 4294967295"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; expected a finite number"),
        ({"learning_rate": 0}, "learning_rate is 0; expected a finite number > 0"),
        ({"learning_rate": -1.0}, r"learning_rate is -1\.0; expected a finite number > 0"),
        ({"ema": 1.0}, r"ema is 1\.0; expected a finite number >= 0 and < 1"),
        ({"warmup": 0.0}, r"warmup is 0\.0; expected a finite number > 0 and < 1"),
        ({"weight_decay": float("inf")}, "weight_decay is inf; expected a finite number"),
        ({"clip": 10**400}, r"clip is 10+\.\.\.; expected a finite number"),
        ({"clip": -1}, "clip is -1; expected a finite number >= 0"),
        ({"templates": "word"}, "templates is 'word'; expected a list, each a string"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(settings, TrainingConfig, "training")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.token_norm=no", r"model\.token_norm is 'no'; expected true or false"),
        ("model.stem.color=blue", r"model\.stem\.color is 'blue'; expected one of: rgb, grey"),
        ("model.stem=5", r"model\.stem is 5; expected a table of names and values"),
        ("model.text_scale=x", r"model\.text_scale is 'x'; expected a finite number"),
        ("model.patches=[2, 'x']", r"model\.patches\[1\] is 'x'; expected a whole number from 1 to 112"),
        ("model.dept=3", r"model\.dept is not known; did you mean model\.depth\?"),
        ("model.classes=3", r"model\.classes is not known; the data set determines the number of classes"),
        ("model=5", "model is 5; expected a table of names and values"),
        ("training=5", "training is 5; expected a table"),
        ("epochs.x=1", r"epochs\.x: epochs is 12; expected a table"),
        ("preset=5", "preset is 5; expected a string"),
        ("valid_split=all", "valid_split is 'all'; expected one of: train, valid, test"),
        ("x=" + "[" * 5000, "setting x has too many digits or brackets"),
        ("epochs=" + "9" * 5000, "setting epochs has too many digits or brackets"),
    ],
)
def test_invalid_recipe_settings_are_refused(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(change_settings(read_recipe("edge-ferplus"), parse_settings([setting])), Recipe)


def test_every_shipped_recipe_is_complete() -> None:
    assert set(shipped_names("training recipe")) >= {"edge-ferplus", "paper-ferplus", "paper-rafdb", "paper-sfew"}
    for name in shipped_names("training recipe"):
        recipe = convert(read_recipe(name), Recipe)
        assert recipe.model_config(7).classes == 7
        if recipe.preset == "paper":
            training = recipe.training
            assert (training.optimizer, training.batch, training.learning_rate) == ("sgd", 16, 1e-4)
            assert (training.schedule, training.step_epochs, training.step_factor) == ("step", 30, 0.1)


def test_settings_change_a_recipe() -> None:
    texts = ["epochs=3", "augmentation.flip=0", "model.patches=[2, 3]", "model.stem.input_width=8", "text=frozen"]
    recipe = convert(change_settings(read_recipe("paper-rafdb"), parse_settings(texts)), Recipe)
    assert (recipe.training.epochs, recipe.training.augmentation.flip, recipe.training.text) == (3, 0, "frozen")
    assert recipe.training.augmentation.grey == 0.3  # other settings of the table are unchanged
    edge = convert(change_settings(read_recipe("edge-ferplus"), parse_settings(texts[2:4])), Recipe)
    config = edge.model_config(8)
    assert (config.patches, config.stem.input_width, config.stem.color) == ((2, 3), 8, "grey")


def test_missing_and_invalid_recipes_are_refused(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match=r"no recipe 'papr'; expected a \.toml file or one of: ablation-ferplus"):
        read_recipe("papr")
    with pytest.raises(ConfigError, match=r"no recipe 'edge-ferplu'; .*; did you mean edge-ferplus\?"):
        read_recipe("edge-ferplu")
    with pytest.raises(ConfigError, match=r"trainig is not known; did you mean training\?"):
        convert({"trainig": {}}, Recipe)
    (tmp_path / "a.toml").write_text("epochs = ")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        read_recipe(str(tmp_path / "a.toml"))
    (tmp_path / "a.toml").write_bytes(b"# caf\xe9")
    with pytest.raises(ConfigError, match=r"a\.toml is not valid TOML: .* correct it, or name another recipe"):
        read_recipe(str(tmp_path / "a.toml"))
    with pytest.raises(ConfigError, match="epochs is not known; expected some of: preset"):
        convert({"epochs": 3}, Recipe)
    with pytest.raises(ConfigError, match="expected KEY=VALUE"):
        parse_settings(["epochs"])


def test_the_documentation_lists_every_setting_with_its_default() -> None:
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([a-z0-9_.]+)` \| .+ \| (.+) \|$", text, re.MULTILINE))
    values = asdict(TrainingConfig())
    augmentation = {f"augmentation.{name}": value for name, value in values.pop("augmentation").items()}
    faults = augmentation.pop("augmentation.degradation")
    augmentation |= {f"augmentation.degradation.{name}": value for name, value in faults.items()}
    defaults = {name: _as_written(value) for name, value in {**values, **augmentation}.items()}
    assert {name: listed.get(name) for name in defaults} == defaults


def _as_written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, tuple) else str(value)
