"""HTML pages from Jinja templates.

Every value is escaped, and each page's Content Security Policy forbids scripts and external resources.
"""

from __future__ import annotations

import base64
import functools
from importlib import resources

import jinja2

from fer_edge.html import theme


def page_from_template(template: str, **values: object) -> bytes:
    """Render a template that extends `html/frame.html.jinja`.

    Args:
        template: Path of the template relative to the package, for example "evaluation/report.html.jinja".
        values: Values of the template's variables; a missing one is an error.
    """
    return _environment().get_template(template).render(theme=theme, **values).encode()


def data_uri(data: bytes, kind: str = "image/png") -> str:
    """Return a file's content as a `data:` URI.

    Args:
        data: Content of the file.
        kind: MIME type; default: `image/png`.
    """
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """Format a number with thousands separators, or `-` for None.

    Args:
        value: Number to format.
        digits: Decimal places; default: 1.
        unit: Suffix, with its leading space; default: none.
    """
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
