"""Checks of settings: types and bounds are the annotations of dataclass fields, and msgspec compares values with them.

`Annotated[int, Meta(ge=1)]` is an integer from 1. msgspec accepts an int where a float is expected, but no bool where a
number is, and turns lists into tuples. Two things are added here: unknown names are refused, which msgspec ignores in
dataclasses, and messages contain the wrong value beside its path: "stem.widths[0] is 0; expected a whole number >= 1".
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from fer_edge import _typed
from fer_edge._text import printable
from fer_edge.errors import MAX_SHOWN, ConfigError, FerEdgeError, shown

T = TypeVar("T")
LARGEST = sys.float_info.max
Finite = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
NonNegative = Annotated[float, Meta(ge=0, le=LARGEST)]
Fraction = Annotated[float, Meta(ge=0, le=1)]

_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a string",
    dict: "a table of names and values",
    Mapping: "a table of names and values",
    Any: "a plain value",
}
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_STEP = re.compile(r"\.(\w+)|\[(\d+|\.\.\.)\]")  # one step of a path of msgspec: `$.stem.widths[0]`, `$.tensors[...]`


def convert(data: object, kind: type[T], where: str = "", error: type[FerEdgeError] = ConfigError) -> T:
    """Convert plain data, as TOML and JSON give it, to a type, and check it.

    Args:
        data: Values: for a dataclass a table with its fields by name.
        kind: Dataclass or any other type that msgspec supports.
        where: Path of the data in messages: "training". Empty for a whole file.
        error: Exception to raise.

    Raises:
        FerEdgeError: As `error`: an unknown or missing name, a value of another type or out of bounds.
    """
    _check_nested_names(data, kind, where, error)
    try:
        return _typed.convert(data, kind)
    except msgspec.ValidationError as fault:
        raise error(_explain(fault, data, kind, where)) from fault


def convert_text(text: str, kind: Any, where: str, error: type[FerEdgeError] = ConfigError) -> Any:
    """Convert the text of an option to a number, a truth value or one of some texts, and check it.

    Args:
        text: Text: "10", "true".
        kind: Type that msgspec supports, with its bounds.
        where: Name of the option in messages: "rate".
        error: Exception to raise.

    Raises:
        FerEdgeError: As `error`: a text of another form, or a value out of bounds.
    """
    try:
        return _typed.convert(text, kind, strict=False)
    except msgspec.ValidationError as fault:
        raise error(f"{where} is {shown(text)}; expected {_describe_type(kind)}") from fault


def convert_some(
    values: Mapping[str, Any], kind: type[Any], where: str = "", error: type[FerEdgeError] = ConfigError
) -> dict[str, Any]:
    """Convert some fields of a dataclass, and check them.

    Args:
        values: Values by name of the field; fields may be missing.
        kind: The dataclass.
        where: Path of the table in messages: "model.stem".
        error: Exception to raise.

    Returns:
        The converted values by name.

    Raises:
        FerEdgeError: As `error`: an unknown name, a value of another type or out of bounds.
    """
    hints = _hints(kind)
    check_names(values, hints, where, error)
    return {name: convert(value, hints[name], _join(where, name), error) for name, value in values.items()}


def convert_fields(instance: object, where: str = "", error: type[FerEdgeError] = ConfigError) -> None:
    """Check the fields of a new dataclass instance and convert them in place; called by its `__post_init__`.

    Raises:
        FerEdgeError: As `error`: a value of another type or out of bounds.
    """
    for name, value in convert_some(vars(instance), type(instance), where, error).items():
        object.__setattr__(instance, name, value)  # the instance may be frozen


def check_names(
    names: Iterable[object], expected: Iterable[str], where: str = "", error: type[FerEdgeError] = ConfigError
) -> None:
    """Refuse an unknown name, and suggest the closest expected one.

    Raises:
        FerEdgeError: As `error`: an unknown name.
    """
    choices = list(expected)
    for name in names:
        if name in choices:
            continue
        text = printable(str(name)[:MAX_SHOWN])
        near = difflib.get_close_matches(text, choices, n=1)
        remedy = f"did you mean {_join(where, near[0])}?" if near else f"expected some of: {', '.join(choices)}"
        raise error(f"{_join(where, text)} is not known; {remedy}")


def table(data: object, where: str, error: type[FerEdgeError] = ConfigError) -> dict[str, Any]:
    """Copy a table of names and values.

    Raises:
        FerEdgeError: As `error`: data of another type.
    """
    if not isinstance(data, Mapping):
        raise error(f"{where} is {shown(data)}; expected a table of names and values")
    return {str(name): value for name, value in data.items()}


def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _check_nested_names(data: object, hint: Any, where: str, error: type[FerEdgeError]) -> None:
    """Refuse unknown names in a dataclass's table and in the tables inside it."""
    hint = _bare(hint)
    if is_dataclass(hint) and isinstance(data, Mapping):
        hints = _hints(hint)
        check_names(data, hints, where, error)
        for name, value in data.items():
            _check_nested_names(value, hints[name], _join(where, name), error)
    elif get_origin(hint) is tuple and isinstance(data, (list, tuple)):
        for index, value in enumerate(data):
            _check_nested_names(value, get_args(hint)[0], f"{where}[{index}]", error)


def _explain(fault: msgspec.ValidationError, data: object, kind: Any, where: str) -> str:
    """Return path, wrong value and expectation for an error of msgspec."""
    text, _, path = str(fault).partition(" - at ")
    hint = kind
    for name, index in _STEP.findall(path):
        if not name and index == "...":  # msgspec leaves out the key of a mapping
            hint = _item_hint(hint, 1)
            name = next((key for key, value in data.items() if not _fits(value, hint)), index)  # type: ignore[attr-defined]
        elif name:
            hint = _hints(_bare(hint)).get(name, Any)
        else:
            hint = _item_hint(hint, int(index))
        where = _join(where, printable(name)) if name else f"{where}[{index}]"
        data = data[name] if name else data[int(index)]  # type: ignore[index]
    missing = re.search("missing required field `(.+)`", text)
    if missing:
        return f"{_join(where, missing[1])} is missing; expected {_describe_type(_hints(_bare(hint))[missing[1]])}"
    return f"{where or 'the content'} is {shown(data)}; expected {_describe_type(hint)}"


def _fits(value: object, hint: Any) -> bool:
    try:
        _typed.convert(value, hint)
    except msgspec.ValidationError:
        return False
    return True


def _bare(hint: Any) -> Any:
    """Return a type without its bounds and without None."""
    while get_origin(hint) in (Annotated, Union, UnionType):
        hint = get_args(hint)[0]
    return hint


def _item_hint(hint: Any, index: int) -> Any:
    """Return the type of one item of a tuple, or with index 1 of the values of a mapping."""
    hint = _bare(hint)
    items = get_args(hint) or tuple(_hints(hint).values())  # a NamedTuple has hints
    if get_origin(hint) is list or Ellipsis in items:
        return items[0]
    return items[index] if index < len(items) else Any


def _describe_type(hint: Any) -> str:
    """Describe the values of a type."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        if inner[1].description:
            return str(inner[1].description)
        least, most = inner[1].ge, inner[1].le
        if least is not None and most is not None and most < LARGEST:
            return f"{_describe_type(inner[0])} from {least} to {most}"
        bounds = [(sign, getattr(inner[1], name)) for name, sign in _SIGNS.items()]
        limits = [f"{sign} {bound}" for sign, bound in bounds if bound is not None and abs(bound) < LARGEST]
        return f"{_describe_type(inner[0])} {' and '.join(limits)}".strip()
    if origin is Literal:
        return f"one of: {', '.join(map(str, inner))}"
    if origin in (Union, UnionType):
        return " or ".join(_describe_type(choice) for choice in inner if choice is not NoneType)
    if origin in (tuple, list):
        count = f" of {len(inner)}" if origin is tuple and Ellipsis not in inner else ""
        return f"a list{count}, each {_describe_type(inner[0])}"
    return _WORDS.get(origin or hint, "a table of names and values")
