"""Checks of option values, before large packages are imported and long work begins."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fer_edge.choices import PLOT_SUFFIXES

if TYPE_CHECKING:
    from fer_edge.shipped import Kind


def shipped_path(kind: Kind) -> Callable[[Any], Any]:
    """Make a callback that replaces the name of a shipped file by its path, in a list of paths too.

    Args:
        kind: Kind of file, "checkpoint".
    """

    def resolve(value: Any) -> Any:
        from fer_edge.errors import ConfigError
        from fer_edge.shipped import path_or_shipped

        try:
            if isinstance(value, list):
                return [path_or_shipped(kind, path) for path in value]
            return None if value is None else path_or_shipped(kind, value)
        except ConfigError as error:
            raise typer.BadParameter(str(error)) from None

    return resolve


def known_engine(names: tuple[str, ...]) -> Callable[[Any], Any]:
    """Make a callback that refuses unknown engines, in a list too; installed packages are searched for other names.

    Args:
        names: Names of fer-edge's engines.
    """

    def check(value: Any) -> Any:
        for name in [value] if isinstance(value, str) else value or ():
            if name not in names:
                from fer_edge.engines.registry import is_engine

                if not is_engine(name):
                    raise typer.BadParameter(f"{name!r} is not one of the engines")
        return value

    return check


def not_negative(value: float | None) -> float | None:
    """Refuse NaN, infinity and numbers below 0; versions of Typer differ in whether they accept NaN.

    Raises:
        BadParameter: Value that is one of them.
    """
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise typer.BadParameter(f"{value:g} is not a finite number from 0")
    return value


def plot_file(path: Path | None) -> Path | None:
    """Check the suffix of a picture to write, and that Matplotlib is installed.

    Raises:
        BadParameter: Suffix that is not a picture format.
        EngineUnavailableError: Matplotlib is not installed.
    """
    if path is not None and path.suffix not in PLOT_SUFFIXES:
        suffix = f"has the suffix {path.suffix!r}" if path.suffix else "has no suffix"
        raise typer.BadParameter(f"{path} {suffix}; expected one of: {', '.join(PLOT_SUFFIXES)}")
    if path is not None and find_spec("matplotlib") is None:
        from fer_edge.errors import EngineUnavailableError

        raise EngineUnavailableError('plots need Matplotlib; run: pip install "fer-edge[report]"')
    return path


def prompt_templates(values: list[str] | None) -> list[str] | None:
    """Check that every prompt template has a place for the word of a label.

    Raises:
        BadParameter: Template without a place for the word, or unknown name of a template.
    """
    from fer_edge.errors import ConfigError
    from fer_edge.labels import expand_templates, fill_template

    try:
        for template in expand_templates(values or ()):
            fill_template(template, "happy")
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None
    return values


def parse_box(text: str | None) -> tuple[float, float, float, float] | None:
    """Parse X,Y,W,H.

    Raises:
        BadParameter: Text that is not four numbers.
    """
    if text is None:
        return None
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"--box: {text!r} is not a box; expected X,Y,W,H in pixels") from None
    return x, y, width, height


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Parse W,H.

    Raises:
        BadParameter: Text that is not two whole numbers from 1.
    """
    if text is None:
        return None
    try:
        width, height = (int(part) for part in text.split(","))
    except ValueError:
        width, height = 0, 0
    if min(width, height) < 1:
        raise typer.BadParameter(f"--size: {text!r} is not a size; expected W,H in pixels, such as 1280,720")
    return width, height


def refuse_given(scope: str, remedy: str, /, **values: object) -> None:
    """Refuse options that have no effect in this command line.

    Args:
        scope: Part of the work that the options apply to, and that was not requested: "the open loop".
        remedy: Change that gives them an effect: "add --scenario open-loop".
        values: Value by option name; None for an option that was left out.

    Raises:
        BadParameter: Option that has a value.
    """
    for name, value in values.items():
        if value is not None:
            option = name.replace("_", "-")
            raise typer.BadParameter(f"--{option} applies only to {scope}; {remedy}, or leave out --{option}")


def check_out_file(out: Path, suffix: str, what: str) -> None:
    """Refuse an output that is a folder, or that has a suffix other commands do not accept.

    Args:
        out: File to write.
        suffix: Required suffix, ".fer".
        what: Kind of file for the message, "a bundle".

    Raises:
        BadParameter: Another suffix, or a folder.
    """
    if out.suffix != suffix:
        raise typer.BadParameter(f"the output is {out}; the name of {what} ends in {suffix}: {out.with_suffix(suffix)}")
    if out.is_dir():
        raise typer.BadParameter(f"the output {out} is a folder; name a file")
