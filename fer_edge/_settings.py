"""Settings as frozen dataclasses: names, types and ranges are checked before anything is made of them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from fer_edge.errors import MAX_SHOWN, ConfigError, FerEdgeError, shown

T = TypeVar("T")
Bounds = Mapping[str, tuple[float, float]]

_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    NoneType: "nothing",
}


def build(kind: type[T], data: object, what: str, error: type[FerEdgeError] = ConfigError) -> T:
    """A dataclass from plain data, whose lists become tuples.

    Args:
        kind: The dataclass; it checks its own values.
        data: Its fields by name.
        what: What the data is, for messages.
        error: What to raise.

    Raises:
        FerEdgeError: As `error`: it is no table, a name is not known or one is missing.
    """
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    values = table(data, what, error)
    try:
        check_names(values, names, error=error)
        required = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]  # type: ignore[arg-type]
        missing = [name for name in required if name not in values]
        if missing:
            raise error(f"{', '.join(missing)} missing; expected a value")
    except FerEdgeError as found:
        raise error(f"{what} not understood: {found}") from found
    return kind(**with_tuples(values))


def table(data: object, what: str, error: type[FerEdgeError] = ConfigError) -> dict[str, Any]:
    """Plain data that holds names and values, copied.

    Raises:
        FerEdgeError: As `error`: it is something else.
    """
    if not isinstance(data, Mapping):
        raise error(f"{what}: found {_written(data)}; expected a table of names and values")
    return {str(name): value for name, value in data.items()}


def check_names(
    found: Iterable[str], known: Iterable[str], prefix: str = "", error: type[FerEdgeError] = ConfigError
) -> None:
    """Refuse a name that is not known, naming the nearest one that is.

    Raises:
        FerEdgeError: As `error`: a name is not known.
    """
    choices = list(known)
    for name in found:
        if name in choices:
            continue
        near = difflib.get_close_matches(name[:MAX_SHOWN], choices, n=1)
        remedy = f"did you mean {prefix}{near[0]}?" if near else f"expected some of: {', '.join(choices)}"
        raise error(f"{prefix}{name[:MAX_SHOWN]} is not known; {remedy}")


def check_types(
    kind: type[object], values: Mapping[str, Any], prefix: str = "", error: type[FerEdgeError] = ConfigError
) -> None:
    """Refuse values that are not of their field's type; bool is no number, an int may stand for a float.

    Args:
        kind: The dataclass.
        values: All of its fields or some; `vars` of an instance.
        prefix: What to put before a field's name in messages: `stem.`.
        error: What to raise.

    Raises:
        FerEdgeError: As `error`: a value is of another type, not finite, or none of the choices.
    """
    hints = get_type_hints(kind)
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise error(f"{prefix}{name} is {_written(value)}; expected {_expected(hints[name])}")


def check_ranges(
    values: Mapping[str, Any], bounds: Bounds, prefix: str = "", error: type[FerEdgeError] = ConfigError
) -> None:
    """Refuse numbers out of range, in tuples too. The upper bound may be infinite.

    Raises:
        FerEdgeError: As `error`: a value is below the least or above the most.
    """
    for name, (least, most) in bounds.items():
        several = isinstance(values[name], tuple)
        for number in values[name] if several else (values[name],):
            if not least <= number <= most:
                expected = f"at least {least:g}" if most == math.inf else f"{least:g} to {most:.10g}"
                each = "each " if several else ""
                raise error(f"{prefix}{name} is {_written(values[name])}; expected {each}{expected}")


def with_new_names(data: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Rename keys of files from before they were renamed.

    Args:
        data: Content of a file; it may have old keys or new ones.
        names: New key by old key.
    """
    return {names.get(key, key): value for key, value in data.items()}


def with_tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data with its lists as the tuples that frozen dataclasses hold."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


def _fits(value: object, hint: Any) -> bool:
    origin, choices = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in choices)
    if origin in (Union, UnionType):
        return any(_fits(value, choice) for choice in choices)
    if origin is tuple:
        return isinstance(value, tuple) and _items_fit(value, choices)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and _finite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, origin or hint)


def _items_fit(value: tuple[object, ...], hints: tuple[Any, ...]) -> bool:
    if hints[-1] is Ellipsis:
        return all(_fits(item, hints[0]) for item in value)
    return len(value) == len(hints) and all(_fits(item, hint) for item, hint in zip(value, hints, strict=True))


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _expected(hint: Any) -> str:
    origin, choices = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"one of: {', '.join(map(str, choices))}"
    if origin in (Union, UnionType):
        return " or ".join(_expected(choice) for choice in choices)
    if origin is tuple:
        count = "" if choices[-1] is Ellipsis else f"of {len(choices)}"
        return f"a list {count}, each {_expected(choices[0])}".replace(" ,", ",")
    return _WORDS.get(hint, "a table of names and values")


def _written(value: object) -> str:
    """A value as settings are written."""
    return shown(list(value) if isinstance(value, tuple) else value)
