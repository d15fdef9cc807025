"""`fer-edge inspect`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from fer_edge.cli import options


def inspect(
    file: options.ModelArgument,
    full: Annotated[bool, typer.Option("--full", help="Show every field, as an indented tree.")] = False,
    json: options.Json = False,
) -> None:
    """Show the contents of a bundle or checkpoint.

    The members of a bundle are compared with their hashes; no engine is loaded.

    Example: fer-edge inspect edge.fer
    """
    from fer_edge.cli.output import print_fields, print_json, print_line
    from fer_edge.evaluation.description import describe_file

    if full and json:
        raise typer.BadParameter("--json prints every field; leave out --full")
    description = describe_file(file)
    if json:
        about = {"path": file, "kind": description.kind, "bytes": description.size, "sha256": description.sha256}
        print_json({"file": about, **description.contents})
        return
    verified = ", all members match their hashes" if description.kind == "bundle" else ""
    print_line(f"{file}: {description.kind}, {description.size / 1e6:.1f} MB{verified}")
    print_fields([*description.fields, ("sha256", description.sha256)])
    if full:
        for line in tree(description.contents):
            print_line(line)
    else:
        print_line("more: --full shows every field, --json prints them for programs")


def tree(value: dict[str, Any], depth: int = 1) -> Iterator[str]:
    """Format nested data as indented lines: lists of plain values on one line, numbers with six digits.

    Args:
        value: Nested data.
        depth: Level of indentation, two spaces each; 1 by default.

    Yields:
        Lines.
    """
    for name, inner in value.items():
        start = f"{'  ' * depth}{name}:"
        if isinstance(inner, dict) and inner:
            yield start
            yield from tree(inner, depth + 1)
        elif isinstance(inner, (list, tuple)) and any(isinstance(item, dict) for item in inner):
            yield start
            for index, item in enumerate(inner, 1):
                yield from tree({str(index): item}, depth + 1)
        else:
            yield f"{start} {_format_value(inner)}"


def _format_value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_format_value(inner) for inner in value) or "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value in (None, {}, "") else str(value)
