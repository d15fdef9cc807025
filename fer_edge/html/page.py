"""Templates to pages. Every value is escaped; a policy in the page forbids scripts and everything from elsewhere."""

from __future__ import annotations

import base64
import functools
from importlib import resources

import jinja2

from fer_edge.html.theme import DARK, LIGHT


def page_from_template(template: str, **values: object) -> bytes:
    """Fill a template that extends `html/frame.html.jinja`.

    Args:
        template: Its path below the package: "evaluation/report.html.jinja".
        values: What it names; a name without a value is an error.
    """
    return _environment().get_template(template).render(light=LIGHT, dark=DARK, **values).encode()


def data_uri(data: bytes, kind: str = "image/png") -> str:
    """A file as the address of itself."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """A figure for people; a dash for none."""
    return "-" if value is None else f"{value:,.{digits}f}{unit}"


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(data_uri=data_uri, number=number)
    return environment


def _template(name: str) -> str:
    return resources.files("fer_edge").joinpath(name).read_text(encoding="utf-8")
