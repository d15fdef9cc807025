"""Help pages of commands: usage, text, examples, arguments and options within 80 columns."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

from typer.core import TyperCommand

from fer_edge.cli.parameters import Parameter, parameters_of

WIDTH = 78  # columns of a help page
MAX_NAME = 30  # columns of the names of options, beside the descriptions
BLANK = "\0"  # stands for a blank that is not a place to break
EXAMPLE = "Example: "


class Command(TyperCommand):
    """Command whose help page is the same with every version of Typer."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line; errors get this command's context, which Typer's parser leaves out of some."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if getattr(error, "ctx", ctx) is None:
                error.ctx = ctx  # type: ignore[attr-defined]
            raise

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line."""
        arguments = [parameter for parameter in _parameters(self) if not parameter.options]
        return ["[OPTIONS]", *(_usage(argument) for argument in arguments)]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write the text of the docstring, and its examples as commands that can be copied."""
        text, examples = split_docstring(self.help or "")
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(text)
        with formatter.section("Examples" if len(examples) > 1 else "Example"):
            for example in examples:
                formatter.write(textwrap.indent(wrap_command(example), "  ") + "\n")

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, and options by panel."""
        for title, records in page_sections(_parameters(self)).items():
            with formatter.section(title):
                formatter.write(format_records(records))


def page_sections(parameters: list[Parameter]) -> dict[str, list[tuple[str, str]]]:
    """Return signatures and descriptions by section of the help page.

    Args:
        parameters: Parameters of the command.
    """
    sections: dict[str, list[tuple[str, str]]] = {}
    for parameter in parameters:
        title = parameter.panel if parameter.options else "Arguments"
        sections.setdefault(title, []).append((parameter.signature, parameter.description))
    sections.setdefault("Options", []).append(("--help", "Show this page and exit."))
    return sections


def split_docstring(docstring: str) -> tuple[str, list[str]]:
    """Return the text of a command's docstring without its examples, and the examples.

    Args:
        docstring: Docstring; a paragraph that starts with "Example: " is an example.
    """
    paragraphs = [" ".join(part.split()) for part in inspect.cleandoc(docstring).split("\n\n")]
    text = "\n\n".join(part for part in paragraphs if not part.startswith(EXAMPLE))
    return text, [part.removeprefix(EXAMPLE) for part in paragraphs if part.startswith(EXAMPLE)]


def format_records(records: list[tuple[str, str]], width: int = WIDTH) -> str:
    """Format names and descriptions in two columns; names of choices are not broken at their hyphens.

    Args:
        records: Names and descriptions.
        width: Number of columns, 78 by default.
    """
    indent = min(max(len(name) for name, _ in records), MAX_NAME) + 4
    lines = []
    for name, text in records:
        first, *others = textwrap.wrap(text, width - indent, break_on_hyphens=False)
        if len(name) > MAX_NAME:
            lines += [f"  {name}", " " * indent + first]
        else:
            lines.append(f"  {name}".ljust(indent) + first)
        lines += [" " * indent + line for line in others]
    return "".join(f"{line}\n" for line in lines)


def wrap_command(command: str, width: int = WIDTH - 2) -> str:
    """Break a long command before its options, into lines that end in a backslash.

    Args:
        command: Command on one line.
        width: Largest number of characters of a line, 76 by default.
    """
    chunks = re.sub(r" (?!-)", BLANK, command)  # a value stays on the line of its option
    lines = textwrap.wrap(chunks, width - 2, break_long_words=False, break_on_hyphens=False, subsequent_indent="    ")
    return " \\\n".join(lines).replace(BLANK, " ")


def _parameters(command: TyperCommand) -> list[Parameter]:
    function: Callable[..., Any] | None = command.callback
    assert function is not None
    return parameters_of(function)


def _usage(argument: Parameter) -> str:
    return argument.signature if argument.required else f"[{argument.signature}]"
