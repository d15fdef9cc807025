"""Settings that would have no effect beside others, which are refused when somebody gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_edge.errors import ConfigError
from fer_edge.training.initialization import Sources
from fer_edge.training.recipe import TOP, Recipe

_TOWERS = ("frozen", "fine-tuned")
_Test = Callable[[Recipe, Sources], bool]


@dataclass(frozen=True)
class _Need:
    """What a setting needs to have an effect."""

    words: str
    given: _Test


def _has_tower(recipe: Recipe, _: Sources) -> bool:
    return recipe.training.text in _TOWERS


def _has_text_head(recipe: Recipe, sources: Sources) -> bool:
    return sources.init is not None or recipe.model_config(2).text_head


_TOWER = _Need("text = frozen or fine-tuned", _has_tower)
_TEXT_HEAD = _Need("a model with a text head", _has_text_head)
_STEPS = _Need("schedule = step", lambda recipe, _: recipe.training.schedule == "step")
_NEEDS: dict[str, _Need] = {
    "momentum": _Need("optimizer = sgd", lambda recipe, _: recipe.training.optimizer == "sgd"),
    "warmup": _Need("a schedule other than step", lambda recipe, _: recipe.training.schedule != "step"),
    "step_epochs": _STEPS,
    "step_factor": _STEPS,
    "distillation": _Need("a teacher (--teacher)", lambda _, sources: bool(sources.teachers)),
    "text": _Need(
        _TEXT_HEAD.words, lambda recipe, sources: recipe.training.text == "learned" or _has_text_head(recipe, sources)
    ),
    "text_rate": _TEXT_HEAD,
    "text_model": _TOWER,
    "text_weights": _TOWER,
    "templates": _TOWER,
    "early_stop": _Need(
        "more epochs than it waits for", lambda recipe, _: recipe.training.early_stop < recipe.training.epochs
    ),
}
_OPTIONS = {
    "text": "--text", "text_model": "--text-model", "text_weights": "--text-weights", "templates": "--template",
}  # fmt: skip


def check_effects(given: Iterable[str], recipe: Recipe, sources: Sources) -> None:
    """Refuse settings that nothing reads.

    Args:
        given: Names that the user gave, as `--set` takes them.
        recipe: What came of them.
        sources: Files of the run.

    Raises:
        ConfigError: One has no effect; the message says what it needs.
    """
    idle = _idle(given, recipe, sources)
    if idle:
        name = idle[0]
        raise ConfigError(f"{_OPTIONS.get(name, name)} has no effect without {_NEEDS[name].words}; leave it out")
    if sources.teachers and recipe.training.distillation == 0:
        raise ConfigError("--teacher has no effect with distillation = 0; leave it out, or set a share of at most 1")
    if sources.text_features is not None and recipe.training.text != "features":
        raise ConfigError(
            f'text features from a file go with text = "features", not with {recipe.training.text!r}; leave one out'
        )


def check_recipe_file(name: str, data: Mapping[str, Any], recipe: Recipe, sources: Sources) -> None:
    """Refuse what a user's own recipe sets without effect; a shipped one is a protocol that options may change.

    Args:
        name: Shipped recipe or file.
        data: What it holds.
        recipe: With the user's options.
        sources: Files of the run.

    Raises:
        ConfigError: It sets a model beside a checkpoint to start from, or something that nothing reads.
    """
    if Path(name).suffix != ".toml":
        return
    if sources.init is not None:
        brought = [part for part in ("preset", "model") if part in data]
        if brought:
            raise ConfigError(f"--init brings its own model; leave {' and '.join(brought)} out of the recipe {name}")
    training = data.get("training", {})
    alone = Recipe.from_dict(data)
    idle = [part for part in _idle(training, alone, sources) if part in _idle(training, recipe, sources)]
    if idle:
        raise ConfigError(f"{idle[0]} in the recipe {name} has no effect without {_NEEDS[idle[0]].words}; leave it out")


def is_model_setting(name: str) -> bool:
    """Whether a setting as `--set` takes it is of the model."""
    return name == "preset" or name.partition(".")[0] == "model"


def _idle(given: Iterable[str], recipe: Recipe, sources: Sources) -> list[str]:
    names = (name.removeprefix("training.") for name in given if name not in TOP)
    return [name for name in names if name in _NEEDS and not _NEEDS[name].given(recipe, sources)]
