"""Settings: values are compared with the annotations of their fields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from msgspec import Meta

from fer_edge._settings import Finite, Fraction, NonNegative, convert, convert_fields, convert_some
from fer_edge.errors import ConfigError, DataError


class Limits(NamedTuple):
    low: Finite
    high: Finite


@dataclass(frozen=True)
class Stage:
    color: Literal["rgb", "grey"] = "rgb"
    widths: tuple[Annotated[int, Meta(ge=1, le=64)], ...] = (8,)


@dataclass(frozen=True)
class Model:
    classes: Annotated[int, Meta(ge=2)]
    flip: Fraction = 0.5
    clip: NonNegative = 1.0
    threads: Annotated[int, Meta(ge=1)] | None = None
    stage: Stage = Stage()
    stages: tuple[Stage, ...] = ()
    mean: tuple[Finite, Finite, Finite] = (0.0, 0.0, 0.0)
    limits: Mapping[str, Limits] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    cached: bool = False

    def __post_init__(self) -> None:
        convert_fields(self)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"classes": 1}, "model.classes is 1; expected a whole number >= 2"),
        ({"classes": True}, "model.classes is True; expected a whole number >= 2"),
        ({"classes": 3.0}, "model.classes is 3.0; expected a whole number >= 2"),
        ({"classes": None}, "model.classes is None; expected a whole number >= 2"),
        ({"flip": 2}, "model.flip is 2; expected a finite number from 0 to 1"),
        ({"flip": True}, "model.flip is True; expected a finite number from 0 to 1"),
        ({"flip": "1"}, "model.flip is '1'; expected a finite number from 0 to 1"),
        ({"clip": math.nan}, "model.clip is nan; expected a finite number >= 0"),
        ({"clip": math.inf}, "model.clip is inf; expected a finite number >= 0"),
        ({"mean": [0, 1, -math.inf]}, "model.mean[2] is -inf; expected a finite number"),
        ({"mean": [0, 1]}, "model.mean is [0, 1]; expected a list of 3, each a finite number"),
        ({"cached": 1}, "model.cached is 1; expected true or false"),
        ({"threads": 0}, "model.threads is 0; expected a whole number >= 1"),
        ({"stage": 5}, "model.stage is 5; expected a table of names and values"),
        ({"stage": {"color": "blue"}}, "model.stage.color is 'blue'; expected one of: rgb, grey"),
        ({"stage": {"widths": [8, 0]}}, "model.stage.widths[1] is 0; expected a whole number from 1 to 64"),
        ({"stage": {"widths": "8"}}, "model.stage.widths is '8'; expected a list, each a whole number from 1 to 64"),
        ({"stage": {"colour": "rgb"}}, "model.stage.colour is not known; did you mean model.stage.color?"),
        ({"stages": [{}, {"widhts": 1}]}, "model.stages[1].widhts is not known; did you mean model.stages[1].widths?"),
        ({"limits": {"a": [0, 1], "b": [0, "x"]}}, "model.limits.b[1] is 'x'; expected a finite number"),
        ({"notes": []}, "model.notes is []; expected a table of names and values"),
        ({"depth": 3}, "model.depth is not known; expected some of: classes, flip"),
        ({"\x1b[31m": 3}, r"model.\x1b[31m is not known; expected some of: classes, flip"),
    ],
)
def test_wrong_value_is_refused_with_its_path(values: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as refused:
        convert({"classes": 3, **values}, Model, "model", DataError)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize("number", [10**400, -(10**400)])
def test_integer_beyond_every_float_is_refused(number: int) -> None:
    with pytest.raises(ConfigError, match=r"clip is -?10+\.\.\.; expected a finite number"):
        convert({"classes": 3, "clip": number}, Model)


def test_missing_value_and_other_data_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^model\.classes is missing; expected a whole number >= 2$"):
        convert({}, Model, "model")
    wrong: tuple[object, ...] = (None, 5, [], "classes")
    for data in wrong:
        with pytest.raises(ConfigError, match=r"model is .*; expected a table of names and values"):
            convert(data, Model, "model")


def test_plain_data_becomes_the_fields_types() -> None:
    model = convert({"classes": 3, "clip": 2, "stages": [{"widths": [4]}], "limits": {"a": [0, 1]}}, Model)
    assert (model.clip, model.stages, model.limits) == (2.0, (Stage(widths=(4,)),), {"a": Limits(0, 1)})


def test_new_instance_is_checked_and_converted() -> None:
    model = Model(3, mean=[1, 2, 3], stage={"widths": [4]})  # type: ignore[arg-type]
    assert (model.mean, model.stage) == ((1.0, 2.0, 3.0), Stage(widths=(4,)))
    with pytest.raises(ConfigError, match=r"^flip is 2; expected a finite number from 0 to 1$"):
        Model(3, flip=2)


def test_some_fields_are_converted_without_the_others() -> None:
    assert convert_some({"mean": [1, 2, 3]}, Model) == {"mean": (1.0, 2.0, 3.0)}
    with pytest.raises(ConfigError, match=r"a\.mena is not known; did you mean a\.mean\?"):
        convert_some({"mena": [1, 2, 3]}, Model, "a")
