"""Training recipes: model, data set layout and training settings, in one TOML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer_edge._settings import convert_fields, convert_some, table
from fer_edge._text import did_you_mean
from fer_edge._toml import TOMLDecodeError, read_toml
from fer_edge.choices import Split
from fer_edge.data.layouts import AUTO
from fer_edge.errors import ConfigError
from fer_edge.model.config import ModelConfig, preset
from fer_edge.shipped import shipped_file, shipped_names
from fer_edge.training.config import TrainingConfig

TOP = ("preset", "layout", "valid_split")
LONGEST_SETTING = 4096  # characters; limits the nesting of brackets, which Python parses recursively


@dataclass(frozen=True)
class Recipe:
    """Model, data set layout and training settings."""

    preset: str = "edge"
    layout: str = AUTO
    valid_split: Split = "valid"
    model: Mapping[str, Any] = field(default_factory=dict)  # values that replace the preset's
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        convert_fields(self)
        if "classes" in self.model:
            raise ConfigError("model.classes is not known; the data set determines the number of classes")
        convert_some(self.model, ModelConfig, "model")

    def model_config(self, classes: int, **changes: Any) -> ModelConfig:
        """Return the configuration of the model for a number of labels; `changes` replace its fields."""
        return preset(self.preset, classes=classes, **{**self.model, **changes})


def read_recipe(name: str) -> dict[str, Any]:
    """Read a training recipe as plain data.

    Args:
        name: Name of a shipped recipe, or a file.

    Raises:
        ConfigError: Missing or unreadable recipe, or invalid TOML.
    """
    names = shipped_names("training recipe")
    path = shipped_file("training recipe", name) if name in names else Path(name)
    if path.suffix != ".toml" or not path.is_file():
        raise ConfigError(
            f"no recipe {name!r}; expected a .toml file or one of: {', '.join(names)}{did_you_mean(name, names)}"
        )
    try:
        return read_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"recipe {path} cannot be read: {error.strerror}; make it readable") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}; correct it, or name another recipe") from error


def change_settings(data: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's data with changed settings.

    Args:
        data: Recipe as plain data; it is not changed.
        settings: Values by name: `epochs`, `augmentation.flip`, `model.patches`, `preset`, ...

    Raises:
        ConfigError: A name below a setting that is not a table.
    """
    result = {name: dict(value) if isinstance(value, dict) else value for name, value in data.items()}
    for name, value in settings.items():
        *parents, last = name.split(".")
        if name.partition(".")[0] not in (*TOP, "model", "training"):
            parents = ["training", *parents]
        inner = result
        for parent in parents:
            inner[parent] = table(inner.get(parent, {}), f"{name}: {parent}")
            inner = inner[parent]
        inner[last] = value
    return result


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Parse settings in the form `KEY=VALUE`; a value that is not TOML is a text.

    Raises:
        ConfigError: A missing equals sign, or a value that is too large.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"setting {text!r}; expected KEY=VALUE, such as label_smoothing=0.1 or model.depth=4")
        if len(value) > LONGEST_SETTING:
            raise ConfigError(
                f"setting {name.strip()} has too many digits or brackets ({len(value)} characters); "
                "expected a plain value"
            )
        try:
            settings[name.strip()] = read_toml(f"value = {value}")["value"]
        except TOMLDecodeError:
            settings[name.strip()] = value.strip()
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                f"setting {name.strip()} has too many digits or brackets ({error}); expected a plain value"
            ) from error
    return settings
