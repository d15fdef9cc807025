"""Build recipes: TOML files with the arguments of `build`, which command-line options override."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fer_edge._settings import convert_some
from fer_edge._toml import TOMLDecodeError, read_toml
from fer_edge.choices import BuildPrecision, FloatPrecision
from fer_edge.engines.registry import get_engine
from fer_edge.errors import ConfigError
from fer_edge.export.provenance import recipe_record
from fer_edge.shipped import shipped_file, shipped_names

FILES: tuple[Literal["checkpoint", "ranges"], ...] = ("checkpoint", "ranges")  # relative to the recipe, or shipped
# Settings of a recipe that do not apply to another precision, which an option selects.
NOT_FOR: dict[str, tuple[str, ...]] = {"fp32": ("ranges", "float_precision"), "fp16": ("float_precision",)}


@dataclass(frozen=True)
class BuildRecipe:
    """Settings of a recipe: arguments of `fer_edge.export.build.build`, all optional."""

    checkpoint: str
    engines: tuple[str, ...]
    precision: BuildPrecision
    gpu_archs: tuple[str, ...]
    max_batch: int
    ranges: str
    float_precision: FloatPrecision
    allow_fallback: bool
    options: dict[str, dict[str, Any]]  # by engine and name
    name: str


def read_recipe(path: Path) -> dict[str, Any]:
    """Read a recipe.

    Args:
        path: TOML file.

    Returns:
        The settings of the recipe by name; files as paths.

    Raises:
        ConfigError: Missing or malformed file, unknown setting, or value of another type.
    """
    try:
        data = read_toml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"recipe {path} cannot be read: {error}") from error
    try:
        settings = convert_some(data, BuildRecipe)
        for engine in settings.get("engines", ()):
            get_engine(engine)
    except ConfigError as error:
        raise ConfigError(f"recipe {path}: {error}") from error
    return settings | {kind: _file_path(path, kind, settings[kind]) for kind in FILES if kind in settings}


def build_arguments(
    recipe: Path | None, overrides: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Merge a recipe with the options of the command line.

    Args:
        recipe: Recipe file, or None.
        overrides: Arguments of `build` that replace the recipe's; values that are None are ignored. Settings of the
            recipe for int8 are dropped with its precision.
        options: Build options by engine and name, which replace single options of the recipe.

    Returns:
        Arguments of `build`, except for the output; with a recipe also its record.

    Raises:
        ConfigError: Invalid recipe, or no checkpoint.
    """
    settings = {} if recipe is None else read_recipe(recipe)
    arguments = {name: value for name, value in overrides.items() if value is not None}
    dropped = NOT_FOR.get(arguments.get("precision", ""), ())
    merged = {name: value for name, value in settings.items() if name not in dropped} | arguments
    if "checkpoint" not in merged:
        raise ConfigError("no checkpoint: name one as the argument or in the recipe")
    by_engine = settings.get("options", {})
    merged["options"] = {
        engine: {**by_engine.get(engine, {}), **options.get(engine, {})} for engine in {**by_engine, **options}
    }
    if recipe is not None:
        merged["recipe"] = recipe_record(recipe, _changes(settings, arguments, options))
    return merged


def _changes(
    settings: Mapping[str, Any], arguments: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Return the names of the settings whose values differ from the recipe's."""
    changed = [name for name, value in arguments.items() if _plain(settings.get(name)) != _plain(value)]
    by_engine = settings.get("options", {})
    changed += [
        f"{engine}.{name}"
        for engine, values in options.items()
        for name, value in values.items()
        if name not in by_engine.get(engine, {}) or by_engine[engine][name] != value
    ]
    return sorted(changed)


def _plain(value: Any) -> Any:
    """Return a value in a form in which equal settings of recipe and command line are equal."""
    return list(value) if isinstance(value, (list, tuple)) else value


def parse_settings(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Parse build settings of the command line, `ENGINE.NAME=VALUE`.

    Args:
        texts: Settings; a value is written as in TOML, or as a word without quotes.

    Returns:
        Values by engine and name.

    Raises:
        ConfigError: Text of another form.
    """
    options: dict[str, dict[str, Any]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        engine, dot, name = key.partition(".")
        if not (equals and engine and dot and name):
            raise ConfigError(f"--set {text}: expected ENGINE.NAME=VALUE, such as tensorrt.optimization_level=5")
        try:
            parsed = read_toml(f"value = {value}")["value"]
        except TOMLDecodeError:
            parsed = value
        options.setdefault(engine, {})[name] = parsed
    return options


def _file_path(recipe: Path, kind: Literal["checkpoint", "ranges"], name: str) -> Path:
    """Return the path of a file that a recipe names: relative to the recipe, or the shipped file of that name."""
    path = recipe.parent / name
    return shipped_file(kind, name) if not path.is_file() and name in shipped_names(kind) else path
