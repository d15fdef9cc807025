"""Parameters of commands, read from the signatures of their functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo, OptionInfo

SHORT_CHOICES = 20  # characters of choices that are shown beside the option's name
PLACEHOLDERS: dict[type, str] = {int: "N", float: "NUMBER", str: "TEXT", Path: "FILE"}


@dataclass(frozen=True)
class Parameter:
    """An option or argument of a command.

    Attributes:
        name: Name of the function's parameter.
        options: Names on the command line, "--out" and "-o"; empty for an argument.
        placeholder: Placeholder of the value, "DIR"; empty for a flag.
        choices: Values that can be chosen, or that completion offers.
        help: Description, with a full stop.
        panel: Title of the group of options on the help page.
        required: True if the command does not run without it.
        repeatable: True if it accepts several values.
        default: Value if it is left out.
        least: Smallest number that is accepted, or None.
    """

    name: str
    options: tuple[str, ...]
    placeholder: str
    choices: tuple[str, ...]
    help: str
    panel: str
    required: bool
    repeatable: bool
    default: Any
    least: float | None

    @property
    def label(self) -> str:
        """Name in messages: the long option, or the placeholder of an argument."""
        return max(self.options, key=len, default=self.placeholder)

    @property
    def signature(self) -> str:
        """Names and placeholder, as in `-o, --out FILE`."""
        names = ", ".join(sorted(self.options, key=len))
        value = f"{self.placeholder}{'...' if self.repeatable and not self.options else ''}"
        return f"{names} {value}".strip()

    @property
    def description(self) -> str:
        """Help with the default, the limit and the choices that the help does not name."""
        text = self.help
        if self.options and self.required:
            text = _append(text, "required")
        elif not any(self.default is empty for empty in (None, False, ())) and "efault:" not in text:
            text = _append(text, f"default: {_shown(self.default)}")
        if self.least not in (None, 0, 1):
            text += f" At least {self.least:g}."
        if self.choices and "|" not in self.placeholder:
            text += f" One of: {', '.join(self.choices)}."
        return text


def parameters_of(function: Callable[..., Any]) -> list[Parameter]:
    """Return the parameters of a command, in the order of its signature.

    Args:
        function: Function of the command.
    """
    function = inspect.unwrap(function)
    hints = get_type_hints(function, include_extras=True)
    return [
        _parameter(name, hints[name], entry.default) for name, entry in inspect.signature(function).parameters.items()
    ]


def _parameter(name: str, hint: Any, default: Any) -> Parameter:
    annotation, *metadata = get_args(hint)
    info = next(entry for entry in metadata if isinstance(entry, (ArgumentInfo, OptionInfo)))
    value, repeatable = _value_type(annotation)
    choices = _choices(value) or tuple(info.autocompletion(incomplete="") if info.autocompletion else ())
    options: tuple[str, ...] = ()
    if isinstance(info, OptionInfo):
        first = (info.default,) if isinstance(info.default, str) else ()  # Typer takes the first name for a default
        options = (*first, *(info.param_decls or ())) or (f"--{name.replace('_', '-')}",)
    missing = default in (inspect.Parameter.empty, ...)
    return Parameter(
        name=name,
        options=options,
        placeholder=info.metavar or _placeholder(name, value, choices, argument=not options),
        choices=choices,
        help=info.help or "",
        panel=info.rich_help_panel or "Options",
        required=missing,
        repeatable=repeatable,
        default=None if missing else default,
        least=info.min,
    )


def _value_type(annotation: Any) -> tuple[Any, bool]:
    """Return the type of one value, and whether several are accepted."""
    if get_origin(annotation) not in (None, list, Literal):  # a union with None
        annotation = next(part for part in get_args(annotation) if part is not NoneType)
    if get_origin(annotation) is list:
        return get_args(annotation)[0], True
    return annotation, False


def _choices(value: Any) -> tuple[str, ...]:
    if get_origin(value) is Literal:
        return tuple(map(str, get_args(value)))
    if isinstance(value, type) and issubclass(value, Enum):
        return tuple(str(member.value) for member in value)
    return ()


def _placeholder(name: str, value: Any, choices: Sequence[str], *, argument: bool) -> str:
    if value is bool:
        return ""
    if argument:
        return name.upper()
    if choices:
        listed = "|".join(choices)
        return listed if len(listed) <= SHORT_CHOICES else "NAME"
    return PLACEHOLDERS[value]


def _append(text: str, fact: str) -> str:
    """Append a fact to a description: behind a semicolon, or as a sentence behind several sentences."""
    sentence = text.removesuffix(".")
    return f"{text} {fact[0].upper()}{fact[1:]}." if ". " in sentence else f"{sentence}; {fact}."


def _shown(default: Any) -> str:
    if isinstance(default, (list, tuple)):
        return ", ".join(map(_shown, default))
    return str(default.value) if isinstance(default, Enum) else str(default)
