"""Markdown reference of all commands: `python docs/cli_reference.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fer_edge.cli.help_pages import page_sections, split_docstring, wrap_command
from fer_edge.cli.main import COMMANDS, GROUPS, SECTIONS, command_function
from fer_edge.cli.parameters import parameters_of

EXIT_CODES = (
    ("0", "success"),
    ("1", "failure: the message has the cause and the next step"),
    ("2", "wrong usage: an option, argument or recipe"),
    ("130, 143", "interrupted by Ctrl-C or by SIGTERM"),
)


def reference() -> str:
    """Return the reference of the command line as Markdown: one section for each command."""
    lines = ["# Command line", "", "Tables and text are printed on stdout, progress and messages on stderr.", ""]
    lines += _table(("exit code", "meaning"), EXIT_CODES)
    lines += ["", "`--traceback` before the command prints Python's traceback with an error. `NO_COLOR` turns colours"]
    lines += ["off. `fer-edge --install-completion` installs completion of commands, options and choices.", ""]
    for title, names in SECTIONS.items():
        lines += [f"## {title}", ""]
        for name in names:
            if name in GROUPS:
                lines += [f"### fer-edge {name}", "", GROUPS[name], ""]
            level = "####" if name in GROUPS else "###"
            for command in COMMANDS:
                if command == name or command.startswith(f"{name} "):
                    lines += [f"{level} fer-edge {command}", "", *_command(command_function(command)), ""]
    return "\n".join(lines).rstrip() + "\n"


def _command(function: Callable[..., Any]) -> Iterator[str]:
    """Yield the lines of a command's section."""
    text, examples = split_docstring(function.__doc__ or "")
    yield from text.splitlines()
    for example in examples:
        yield from ("", "```bash", wrap_command(example, 96), "```")
    for title, records in page_sections(parameters_of(function)).items():
        yield ""
        name = "argument" if title == "Arguments" else "option"
        yield from _table((name if title in ("Arguments", "Options") else title, "meaning"), _code_first(records))


def _code_first(records: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(f"`{signature}`", description) for signature, description in records]


def _table(headers: tuple[str, str], rows: Any) -> Iterator[str]:
    """Yield the lines of a table of two columns; vertical bars in cells are escaped."""
    yield f"| {headers[0]} | {headers[1]} |"
    yield "|---|---|"
    for cells in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    print(reference(), end="")
