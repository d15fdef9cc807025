"""Mappings: TOML files that turn the expression of a person into the values of an avatar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, TypeAlias, TypeVar

from msgspec import Meta

from fer_edge._settings import Fraction, convert
from fer_edge._toml import read_toml
from fer_edge.errors import ConfigError, shown
from fer_edge.labels import canonical, expected_names, match_labels, unknown_names
from fer_edge.shipped import path_or_shipped

T = TypeVar("T")
Value: TypeAlias = float | int | bool
Weight = Annotated[float, Meta(ge=-1, le=1)]
Seconds = Annotated[float, Meta(ge=0, le=60)]
Byte = Annotated[int, Meta(ge=0, le=255)]
NEUTRAL = "neutral"  # label of a person whose expression is not certain, and of an empty picture
MAX_NAME = 200  # characters


@dataclass(frozen=True)
class FloatTarget:
    """Number from 0 to 1 that follows probabilities; from -1 to 1 if a weight is negative.

    Attributes:
        name: Name in the app.
        weights: Weight of each label's probability.
        threshold: Probability up to which a label counts as 0; 0 by default.
        full: Probability from which a label counts as 1; 1 by default.
    """

    name: str
    weights: dict[str, Weight]
    threshold: Fraction = 0.0
    full: Fraction = 1.0

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that the value depends on."""
        return tuple(self.weights)

    def rename(self, names: Mapping[str, str]) -> FloatTarget:
        """Return the target with other names of labels; labels without a new name are left out."""
        return replace(self, weights=_rename(self.weights, names))

    def value(self, scores: Mapping[str, float]) -> float:
        """Return the value for the probability of each label."""
        total = sum(weight * self._share(scores.get(label, 0.0)) for label, weight in self.weights.items())
        least = -1.0 if min(self.weights.values(), default=0.0) < 0 else 0.0
        return min(max(total, least), 1.0)

    def _share(self, score: float) -> float:
        return min(max((score - self.threshold) / (self.full - self.threshold), 0.0), 1.0)


@dataclass(frozen=True)
class IntTarget:
    """Whole number of the present label.

    Attributes:
        name: Name in the app.
        numbers: Number of each label.
        unsure: Number of labels without one, of an uncertain expression, and of an empty picture; 0 by default.
    """

    name: str
    numbers: dict[str, Byte]
    unsure: Byte = 0

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that the value depends on."""
        return tuple(self.numbers)

    def rename(self, names: Mapping[str, str]) -> IntTarget:
        """Return the target with other names of labels; labels without a new name are left out."""
        return replace(self, numbers=_rename(self.numbers, names))

    def value(self, label: str) -> int:
        """Return the value for a label; an empty one stands for none."""
        return self.numbers.get(label, self.unsure)


@dataclass(frozen=True)
class BoolTarget:
    """Truth value that is true while the person has one of some labels.

    Attributes:
        name: Name in the app.
        labels: The labels.
    """

    name: str
    labels: tuple[str, ...]

    def rename(self, names: Mapping[str, str]) -> BoolTarget:
        """Return the target with other names of labels; labels without a new name are left out."""
        return replace(self, labels=tuple(names[label] for label in self.labels if label in names))

    def value(self, label: str) -> bool:
        """Return the value for a label; an empty one stands for none."""
        return label in self.labels


@dataclass(frozen=True)
class AvatarMapping:
    """Values of an avatar, and how they change.

    Attributes:
        hold: Time in seconds for which an expression stays after it has become uncertain or the face was lost.
        fade: Time in seconds in which a float moves from 0 to 1; 0: at once.
        floats: Numbers that follow probabilities.
        ints: Numbers of labels.
        bools: Truth values of labels.
    """

    hold: Seconds = 0.5
    fade: Seconds = 0.3
    floats: tuple[FloatTarget, ...] = ()
    ints: tuple[IntTarget, ...] = ()
    bools: tuple[BoolTarget, ...] = ()

    def targets(self) -> Iterator[FloatTarget | IntTarget | BoolTarget]:
        """Yield all targets."""
        yield from self.floats
        yield from self.ints
        yield from self.bools

    def values(self, label: str, scores: Mapping[str, float]) -> dict[str, Value]:
        """Return the value of each target by name, without hold and fade.

        Args:
            label: Label of the person; empty for none.
            scores: Probability by label.
        """
        return {
            **{target.name: target.value(scores) for target in self.floats},
            **{target.name: target.value(label) for target in self.ints},
            **{target.name: target.value(label) for target in self.bools},
        }

    def neutral_values(self) -> dict[str, Value]:
        """Return the values of an expression that is not certain, and of an empty picture."""
        neutral = {label: 1.0 for target in self.floats for label in target.labels if canonical(label) == NEUTRAL}
        return self.values("", neutral)

    def rename(self, names: Mapping[str, str]) -> AvatarMapping:
        """Return the mapping with other names of labels; labels without a new name are left out."""
        return replace(
            self,
            floats=tuple(target.rename(names) for target in self.floats),
            ints=tuple(target.rename(names) for target in self.ints),
            bools=tuple(target.rename(names) for target in self.bools),
        )


def read_mapping(name: str, labels: Sequence[str]) -> AvatarMapping:
    """Read a mapping for the labels of a model.

    Labels of other models, such as contempt for a model without it, have no effect.

    Args:
        name: Name of a shipped mapping, or path of a TOML file.
        labels: Labels of the model.

    Raises:
        ConfigError: File that is missing or malformed, unknown key, wrong value, or label that no model has.
    """
    path = path_or_shipped("mapping", name)
    try:
        data = read_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the mapping {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the mapping {path} is not valid TOML: {error}") from error
    try:
        mapping = convert(data, AvatarMapping)
        _check_targets(mapping)
        return mapping.rename(_model_labels(mapping, labels))
    except ConfigError as error:
        raise ConfigError(f"the mapping {name}: {error}") from error


def _rename(values: Mapping[str, T], names: Mapping[str, str]) -> dict[str, T]:
    return {names[label]: value for label, value in values.items() if label in names}


def _check_targets(mapping: AvatarMapping) -> None:
    targets = list(mapping.targets())
    if not targets:
        raise ConfigError("there are no targets; expected a table [[floats]], [[ints]] or [[bools]]")
    for target in targets:
        if not target.name.isprintable() or not 0 < len(target.name) <= MAX_NAME:
            raise ConfigError(f"the name {shown(target.name)}; expected 1 to {MAX_NAME} printable characters")
        if not target.labels:
            raise ConfigError(f"{target.name} depends on no label; expected one or more")
    for target in mapping.floats:
        if target.threshold >= target.full:
            raise ConfigError(
                f"threshold of {target.name} is {target.threshold:g}; expected less than full, {target.full:g}"
            )
    repeated = [name for name, count in Counter(target.name for target in targets).items() if count > 1]
    if repeated:
        raise ConfigError(f"{repeated[0]} is the name of several targets; expected different names")


def _model_labels(mapping: AvatarMapping, labels: Sequence[str]) -> dict[str, str]:
    """Return the label of the model by its name in the mapping, for labels that the model has."""
    names = sorted({label for target in mapping.targets() for label in target.labels})
    unknown = unknown_names(names, labels)
    if unknown:
        raise ConfigError(f"no label {expected_names(unknown, labels)}")
    matches = {
        name: labels[index] for name, index in zip(names, match_labels(names, labels), strict=True) if index >= 0
    }
    if not matches:
        raise ConfigError(f"it has none of the labels of the model; expected some of: {', '.join(labels)}")
    return matches
