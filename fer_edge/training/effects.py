"""Checks for settings that have no effect in combination with others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fer_edge._files import check_output
from fer_edge._settings import convert
from fer_edge.choices import SENTENCE_ENCODER
from fer_edge.data.augment import Augmentation
from fer_edge.data.degrade import Degradation
from fer_edge.errors import ConfigError
from fer_edge.training.files import RunFiles
from fer_edge.training.initialization import Sources
from fer_edge.training.recipe import TOP, Recipe

_TOWERS = ("frozen", "fine-tuned")
_Condition = Callable[[Recipe, Sources], bool]


@dataclass(frozen=True)
class _Requirement:
    """Condition under which a setting has an effect."""

    description: str
    holds: _Condition


def _has_tower(recipe: Recipe, _: Sources) -> bool:
    return recipe.training.text in _TOWERS


def _has_text_head(recipe: Recipe, sources: Sources) -> bool:
    return sources.init is not None or recipe.model_config(2).text_head


def _obscures(augmentation: Augmentation) -> bool:
    return augmentation.cover > 0 or augmentation.degradation.share > 0


_TOWER = _Requirement("text = frozen or fine-tuned", _has_tower)
_TEXT_HEAD = _Requirement("a model with a text head", _has_text_head)
_STEPS = _Requirement("schedule = step", lambda recipe, _: recipe.training.schedule == "step")
_TEACHER = _Requirement("a teacher (--teacher)", lambda _, sources: bool(sources.teachers))
_DEGRADATION = _Requirement(
    "augmentation.degradation.share above 0", lambda recipe, _: recipe.training.augmentation.degradation.share > 0
)
_REQUIREMENTS: dict[str, _Requirement] = {
    "momentum": _Requirement("optimizer = sgd", lambda recipe, _: recipe.training.optimizer == "sgd"),
    "warmup": _Requirement("a schedule other than step", lambda recipe, _: recipe.training.schedule != "step"),
    "step_epochs": _STEPS,
    "step_factor": _STEPS,
    "distillation": _TEACHER,
    "distillation_view": _TEACHER,
    "augmentation.cover": _Requirement(
        "augmentation.erasing above 0", lambda recipe, _: recipe.training.augmentation.erasing > 0
    ),
    "augmentation.smoothing": _Requirement(
        "augmentation.cover or augmentation.degradation.share above 0",
        lambda recipe, _: _obscures(recipe.training.augmentation),
    ),
    **{
        f"augmentation.degradation.{field.name}": _DEGRADATION for field in fields(Degradation) if field.name != "share"
    },
    "text": _Requirement(
        _TEXT_HEAD.description,
        lambda recipe, sources: recipe.training.text == "learned" or _has_text_head(recipe, sources),
    ),
    "text_rate": _TEXT_HEAD,
    "text_model": _TOWER,
    "text_weights": _Requirement(
        f"{_TOWER.description} of an open_clip model",
        lambda recipe, sources: _has_tower(recipe, sources) and recipe.training.text_model != SENTENCE_ENCODER,
    ),
    "templates": _TOWER,
    "early_stop": _Requirement(
        "more epochs than its value", lambda recipe, _: recipe.training.early_stop < recipe.training.epochs
    ),
}
_OPTIONS = {
    "text": "--text-side", "text_model": "--text-model", "text_weights": "--text-weights", "templates": "--template",
}  # fmt: skip


def check_effects(settings: Iterable[str], recipe: Recipe, sources: Sources) -> None:
    """Check that every setting of the user has an effect.

    Args:
        settings: Names of the user's settings, in the form of `--set`.
        recipe: Recipe with these settings.
        sources: Input files of the run.

    Raises:
        ConfigError: A setting without effect; the message names its requirement.
    """
    names = list(settings)
    if sources.init is not None and any(map(is_model_setting, names)):
        raise ConfigError("--init defines the model; leave out --preset and settings of the model")
    idle = _without_effect(names, recipe, sources)
    if idle:
        name = idle[0]
        requirement = _REQUIREMENTS[name].description
        raise ConfigError(f"{_OPTIONS.get(name, name)} has no effect without {requirement}; leave it out")
    if sources.teachers and recipe.training.distillation == 0:
        raise ConfigError("--teacher has no effect with distillation = 0; leave it out, or set a share of at most 1")
    if sources.text_features is not None and recipe.training.text != "features":
        raise ConfigError(f'a file of text features needs text = "features", not {recipe.training.text!r}')


def check_recipe_file(name: str, data: Mapping[str, Any], recipe: Recipe, sources: Sources) -> None:
    """Check that every setting of a user's recipe has an effect; shipped recipes are not checked.

    Args:
        name: Name of a shipped recipe, or a file.
        data: Contents of the recipe.
        recipe: Recipe with the user's options.
        sources: Input files of the run.

    Raises:
        ConfigError: A model in the recipe besides an initial checkpoint, or a setting without effect.
    """
    if Path(name).suffix != ".toml":
        return
    if sources.init is not None:
        parts = [part for part in ("preset", "model") if part in data]
        if parts:
            raise ConfigError(f"--init defines the model; leave {' and '.join(parts)} out of the recipe {name}")
    training = list(_setting_names(data.get("training", {})))
    unchanged = convert(data, Recipe)
    idle = [
        part
        for part in _without_effect(training, unchanged, sources)
        if part in _without_effect(training, recipe, sources)
    ]
    if idle:
        requirement = _REQUIREMENTS[idle[0]].description
        raise ConfigError(f"{idle[0]} in the recipe {name} has no effect without {requirement}; leave it out")


def check_run_folder(folder: Path, sources: Sources) -> None:
    """Check that a folder and the files of its run are not inputs of the run.

    Raises:
        ConfigError: An output that is an input.
    """
    files = RunFiles(folder)
    for path in (folder, files.best, files.last):
        check_output(path, *sources.paths())


def is_model_setting(name: str) -> bool:
    """Return whether a setting (in the form of `--set`) belongs to the model."""
    return name == "preset" or name.partition(".")[0] == "model"


def _setting_names(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the names of the settings in a table of a recipe, in the form of `--set`."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _setting_names(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _without_effect(names: Iterable[str], recipe: Recipe, sources: Sources) -> list[str]:
    training = (name.removeprefix("training.") for name in names if name not in TOP)
    return [name for name in training if name in _REQUIREMENTS and not _REQUIREMENTS[name].holds(recipe, sources)]
