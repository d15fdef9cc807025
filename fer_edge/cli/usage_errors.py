"""Messages about wrong usage: the option, the wrong value, and the values that are accepted."""

from __future__ import annotations

import re
from typing import Any

from fer_edge._text import did_you_mean
from fer_edge.cli.parameters import Parameter, parameters_of

# Messages of Typer about values; newer versions put "Value error, " in front, or name no value.
WRONG_CHOICE = re.compile(r"(?:Value error, )?(['\"])(?P<value>.*)\1 is not one of .*", re.DOTALL)
WRONG_NUMBER = re.compile(r"Input should be .*|(?P<value>.*) is not (a valid|in the range) .*", re.DOTALL)
NUMBERS = {"N": "a whole number", "NUMBER": "a number"}  # by placeholder


def usage_message(error: Any) -> str:
    """Return one sentence about an error of Typer, without a full stop.

    Args:
        error: Usage error of Typer, of any version.
    """
    kind, message = type(error).__name__, _first_lower(str(error.message or "").rstrip("."))
    if kind == "NoSuchOption":
        return f"no option {error.option_name}{did_you_mean(error.option_name, _option_names(error.ctx))}"
    parameter = _parameter(error)
    if parameter is None:
        return message
    if kind == "MissingParameter":
        return f"missing {parameter.label}: {_first_lower(parameter.help).rstrip('.')}"
    return f"{parameter.label}: {_wrong_choice(error, parameter) or _wrong_number(error, parameter) or message}"


def _wrong_choice(error: Any, parameter: Parameter) -> str:
    wrong = WRONG_CHOICE.fullmatch(error.message)
    if wrong is None or not parameter.choices:
        return ""
    hint = did_you_mean(wrong["value"], parameter.choices)
    return f"'{wrong['value']}' is not a choice; expected one of: {', '.join(parameter.choices)}{hint}"


def _wrong_number(error: Any, parameter: Parameter) -> str:
    wrong = WRONG_NUMBER.fullmatch(error.message)
    if wrong is None or parameter.placeholder not in NUMBERS:
        return ""
    # Newer versions of Typer name the value only in the error of Pydantic.
    value = error.__cause__.errors()[0]["input"] if wrong["value"] is None else wrong["value"].strip("'\"")
    least = "" if parameter.least is None else f" from {parameter.least:g}"
    return f"'{value}' is not {NUMBERS[parameter.placeholder]}{least}"


def _option_names(context: Any) -> list[str]:
    return [name for parameter in context.command.params for name in parameter.opts]


def _parameter(error: Any) -> Parameter | None:
    """Return the parameter of a command that an error is about; None for the root's options and for other errors."""
    name = getattr(getattr(error, "param", None), "name", None)
    command = getattr(getattr(error, "ctx", None), "command", None)
    if name is None or command is None or hasattr(command, "list_commands"):
        return None
    return next((parameter for parameter in parameters_of(command.callback) if parameter.name == name), None)


def _first_lower(text: str) -> str:
    """Return a sentence with a lower-case start, unless its first word is an abbreviation."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
