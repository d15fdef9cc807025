"""Build recipes: the shipped ones, and their overrides."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from fer_edge.choices import EngineName
from fer_edge.errors import ConfigError
from fer_edge.export.recipe import build_arguments, parse_settings, read_recipe

SHIPPED = sorted((Path(__file__).parents[2] / "export").glob("*.toml"))


def test_shipped_recipes_are_complete() -> None:
    assert [recipe.stem for recipe in SHIPPED] == [
        "cpu-fp32", "cpu-int8", "jetson-fp16", "jetson-int8", "onnx-portable", "rtx-fp16", "rtx-int8",
    ]  # fmt: skip


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipe_names_existing_files_and_engines(path: Path) -> None:
    settings = read_recipe(path)
    assert settings["checkpoint"].is_file()
    assert settings["precision"] == "fp32" or settings["ranges"].is_file()
    assert set(settings["engines"]) <= set(get_args(EngineName))
    assert f"--recipe {path.stem}" in path.read_text()


def test_single_build_options_override_the_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('checkpoint = "a.safetensors"\n[options.tensorrt]\ntf32 = true\nworkspace_mb = 64\n')
    arguments = build_arguments(recipe, {"max_batch": 4, "precision": None}, parse_settings(["tensorrt.tf32=false"]))
    assert arguments.pop("recipe").overrides == ("max_batch", "tensorrt.tf32")
    assert arguments == {
        "checkpoint": tmp_path / "a.safetensors",
        "max_batch": 4,
        "options": {"tensorrt": {"tf32": False, "workspace_mb": 64}},
    }


def test_another_precision_drops_the_settings_for_int8(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('checkpoint = "a"\nprecision = "int8"\nranges = "r.json"\nfloat_precision = "fp16"\n')
    common = {"checkpoint", "precision", "options", "recipe"}
    assert set(build_arguments(recipe, {"precision": "fp32"}, {})) == common
    assert set(build_arguments(recipe, {"precision": "fp16"}, {})) == {*common, "ranges"}


def test_settings_have_toml_values_or_words() -> None:
    assert parse_settings(["tensorrt.optimal_batches=[1, 8]", "tensorrt.weights=stripped", "openvino.x=1.5"]) == {
        "tensorrt": {"optimal_batches": [1, 8], "weights": "stripped"},
        "openvino": {"x": 1.5},
    }


@pytest.mark.parametrize("text", ["", "level", "level=1", "tensorrt.=1", ".level=1", "tensorrt.level"])
def test_settings_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--set .*: expected ENGINE\.NAME=VALUE"):
        parse_settings([text])


def test_missing_checkpoint_and_unreadable_recipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no checkpoint: name one as the argument or in the recipe"):
        build_arguments(None, {"max_batch": 4}, {})
    with pytest.raises(ConfigError, match=r"recipe .*none\.toml cannot be read: .*No such file"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "nested.toml").write_text(f"engines = {'[' * 100_000}")
    with pytest.raises(ConfigError, match=r"recipe .*nested\.toml cannot be read: "):
        read_recipe(tmp_path / "nested.toml")
