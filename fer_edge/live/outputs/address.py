"""Address and options in the URL of an output."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar, get_type_hints
from urllib.parse import unquote, urlsplit

from fer_edge._settings import check_names, convert_text
from fer_edge.errors import ConfigError, shown

T = TypeVar("T")


@dataclass(frozen=True)
class Address:
    """Parts of the URL of an output.

    Attributes:
        name: URL without its options, for messages.
        host: Name or address of the receiver.
        port: Port; None if the URL has none.
        options: Text of each option by name.
    """

    name: str
    host: str
    port: int | None
    options: dict[str, str]


def parse_address(target: str, form: str) -> Address:
    """Split the URL of an output that has a host, and perhaps a port and options.

    Args:
        target: URL.
        form: Expected form for messages: "osc://HOST:PORT?app=vrchat".

    Raises:
        ConfigError: URL without host, with a wrong port, path or user, or an option that is not NAME=VALUE.
    """
    try:
        parts = urlsplit(target)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"the target {shown(target)} is not a URL: {error}; expected {form}") from error
    if not host or port == 0 or parts.path not in ("", "/") or parts.username is not None or parts.fragment:
        raise ConfigError(f"the target is {shown(target)}; expected {form}")
    options: dict[str, str] = {}
    for text in parts.query.split("&") if parts.query else ():
        name, equals, value = text.partition("=")
        if not equals or not name or name in options:
            raise ConfigError(f"{shown(text)} in {shown(target)}; expected each option once, as NAME=VALUE: {form}")
        options[name] = unquote(value)
    return Address(f"{parts.scheme}://{parts.netloc}", host, port, options)


def convert_options(options: dict[str, str], kind: type[T], name: str) -> T:
    """Convert the options of a URL to a dataclass, and check them.

    Args:
        options: Text of each option by name.
        kind: Dataclass whose fields are the options; each one has a default.
        name: URL without its options, for messages.

    Raises:
        ConfigError: Unknown option, or a value of another type or out of bounds.
    """
    hints = get_type_hints(kind, include_extras=True)
    try:
        check_names(options, [field.name for field in fields(kind)])  # type: ignore[arg-type]
        values: dict[str, Any] = {key: convert_text(text, hints[key], key) for key, text in options.items()}
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
