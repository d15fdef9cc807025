"""Checks of option values, made before anything large is imported and before long work begins."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fer_edge._files import check_output
from fer_edge._text import did_you_mean

if TYPE_CHECKING:
    from fer_edge.choices import Split
    from fer_edge.shipped import Kind

PLOT_SUFFIXES = (".svg", ".png", ".pdf")


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


def check_choice(what: str, value: str, choices: Iterable[str]) -> None:
    """Refuse a name that is not among the choices, naming the nearest one.

    Args:
        what: Noun for the message, "engine".
        value: Name given on the command line.
        choices: Names that exist.

    Raises:
        BadParameter: The name is not among them.
    """
    known = tuple(choices)
    if value not in known:
        raise typer.BadParameter(
            f"no {what} {value!r}; expected one of: {', '.join(known)}{did_you_mean(value, known)}"
        )


def not_negative(value: float | None) -> float | None:
    """Refuse NaN, infinity and numbers below 0; versions of Typer differ in whether they accept NaN.

    Raises:
        BadParameter: The value is one of them.
    """
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise typer.BadParameter(f"{value:g} is not a finite number from 0")
    return value


def plot_file(path: Path | None) -> Path | None:
    """Check the suffix of a picture to write, and that Matplotlib is installed.

    Raises:
        BadParameter: No picture format has this suffix.
        EngineUnavailableError: Matplotlib is not installed.
    """
    if path is not None and path.suffix not in PLOT_SUFFIXES:
        given = f"has the suffix {path.suffix!r}" if path.suffix else "has no suffix"
        raise typer.BadParameter(f"{path} {given}; expected one of: {', '.join(PLOT_SUFFIXES)}")
    if path is not None and find_spec("matplotlib") is None:
        from fer_edge.errors import EngineUnavailableError

        raise EngineUnavailableError('plots need Matplotlib; run: pip install "fer-edge[report]"')
    return path


def prompt_templates(values: list[str] | None) -> list[str] | None:
    """Check that every prompt template has a place for the word of a label.

    Raises:
        BadParameter: A template has none, or is a name that does not exist.
    """
    from fer_edge.errors import ConfigError
    from fer_edge.labels import fill_template, templates_named

    try:
        for template in templates_named(values or ()):
            fill_template(template, "happy")
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None
    return values


def parse_box(text: str | None) -> tuple[float, float, float, float] | None:
    """Parse X,Y,W,H.

    Raises:
        BadParameter: The text is not four numbers.
    """
    if text is None:
        return None
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a box; expected X,Y,W,H in pixels") from None
    return x, y, width, height


def check_split(split: Split | None, data: Path, layout: str = "auto") -> Split:
    """Return the split to read; "valid" if none was given.

    Args:
        split: Split given on the command line, or None.
        data: Data set.
        layout: Layout given on the command line; "auto" detects it.

    Raises:
        BadParameter: A split was given for a folder without splits.
    """
    from fer_edge.data.layouts import AUTO, find_layout

    if split is not None and layout == AUTO and data.exists() and find_layout(data) is None:
        raise typer.BadParameter(f"--split is about data sets with splits, and {data} has none; leave out --split")
    return split or "valid"


def refuse_given(about: str, remedy: str, **given: object) -> None:
    """Refuse options that would have no effect.

    Args:
        about: What the options are about, which was not requested: "the open loop".
        remedy: What would give them an effect: "add --scenario open-loop".
        given: Value by option name; None where an option was not given.

    Raises:
        BadParameter: One of them was given.
    """
    for name, value in given.items():
        if value is not None:
            option = name.replace("_", "-")
            raise typer.BadParameter(f"--{option} is about {about}; {remedy}, or leave out --{option}")


def check_out_file(out: Path, suffix: str, what: str) -> None:
    """Refuse an output that is a folder, or whose suffix other commands would not accept.

    Args:
        out: File to write.
        suffix: Required suffix, ".fer".
        what: Kind of file for the message, "a bundle".

    Raises:
        BadParameter: The suffix is another, or the path is a folder.
    """
    if out.suffix != suffix:
        raise typer.BadParameter(f"the output is {out}; the name of {what} ends in {suffix}: {out.with_suffix(suffix)}")
    if out.is_dir():
        raise typer.BadParameter(f"the output {out} is a folder; name a file")


def check_outputs(outputs: Mapping[str, Path | None], *inputs: Path | None) -> None:
    """Refuse outputs that are inputs of the same command, and two outputs that are one file.

    Args:
        outputs: File to write by option; None where an option was not given.
        inputs: Files and folders that the command reads.

    Raises:
        ConfigError: An output is an input.
        BadParameter: Two outputs are one file.
    """
    seen: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        check_output(path, *inputs)
        first = seen.setdefault(path.resolve(), option)
        if first != option:
            raise typer.BadParameter(f"{first} and {option} name one file, {path}; name two")
