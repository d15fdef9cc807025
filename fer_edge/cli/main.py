"""The `fer-edge` command: its groups, its commands, and messages about wrong usage.

A command is a function in a module of its own, which is imported when the command runs or shows its help.
"""

from __future__ import annotations

import importlib
import os
from difflib import get_close_matches
from typing import Any

import typer
from typer.core import TyperGroup

import fer_edge
from fer_edge.cli.entry import TRACEBACK, main
from fer_edge.cli.output import print_error, route_messages

__all__ = ["COMMANDS", "app", "command_function", "main", "module_name", "run"]

# First line of the help of each command, which is the first line of its docstring.
COMMANDS: dict[str, str] = {
    "train": "Train a model on labelled face images.",
    "ablate": "Repeat the paper's ablations (Tables IV, V and VI) with a recipe.",
    "checkpoint import": "Convert weights of another program to a checkpoint.",
    "checkpoint text-features": "Compute text features of the labels with a text encoder.",
    "checkpoint set-prompts": "Replace a checkpoint's text features by those of other prompts.",
    "checkpoint narrow": "Write a narrow copy of a trained model, as the start of a training.",
    "checkpoint fit-temperature": "Fit a checkpoint's temperature on images that it was not trained on.",
    "calibrate": "Measure activation ranges on real images, for int8 and fp16.",
    "build-engine": "Build a bundle of engines from a checkpoint.",
    "bundle add-engine": "Build one more engine for a bundle, on its target device, without PyTorch.",
    "bundle diff": "Show in which parts two bundles differ, and why.",
    "bundle sign": "Sign a bundle with a private key, so that its origin can be verified.",
    "bundle verify": "Verify the signature of a bundle, and check its content.",
    "bundle export-triton": "Write a bundle into a model repository of Triton Inference Server.",
    "parity": "Compare a bundle's engine with PyTorch, stage by stage.",
    "evaluate": "Measure accuracy on labelled images.",
    "bench": "Measure latency and throughput of a bundle on this machine.",
    "compare": "Compare the speed of bundles or engines in alternating turns.",
    "live": "Recognise expressions in a camera, file or stream, and show them on a page.",
    "serve": "Serve recognition of images over HTTP, and of cameras over WebSockets.",
    "web": "Write a static page that recognises camera, photos and videos in the browser.",
    "predict": "Find faces in images, and recognise their expressions.",
    "analyse": "Follow the faces of a video; write a table, an annotated copy and a page.",
    "score": "Score many images and videos into Parquet files; interrupted runs resume.",
    "inspect": "Show the contents of a bundle or checkpoint.",
    "doctor": "Show which engines this machine can build and run.",
}
GROUPS: dict[str, str] = {
    "checkpoint": "Import and narrow checkpoints, and change their prompts and temperature.",
    "bundle": "Add engines to bundles, compare, sign, verify and export them.",
}
SECTIONS: dict[str, tuple[str, ...]] = {
    "Recognise expressions": ("predict", "live", "serve", "web", "analyse", "score"),
    "Make a model": ("train", "ablate", "checkpoint"),
    "Make a bundle": ("calibrate", "build-engine", "bundle"),
    "Measure and inspect": ("parity", "evaluate", "bench", "compare", "inspect", "doctor"),
}
COMPLETION = "_FER_EDGE_COMPLETE"  # environment variable that a shell sets to request completions


def module_name(command: str) -> str:
    """Return the name of the module of a command.

    Args:
        command: Name with its group, "checkpoint import".
    """
    return f"fer_edge.cli.{command.replace(' ', '_').replace('-', '_')}"


def command_function(command: str) -> Any:
    """Import and return the function of a command.

    Args:
        command: Name with its group, "checkpoint import".
    """
    name = module_name(command)
    return getattr(importlib.import_module(name), name.rpartition(".")[2])


class LazyGroup(TyperGroup):
    """Group that lists its commands without importing them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of commands and groups."""
        group = _group_of(ctx)
        if group:
            return [command.removeprefix(f"{group} ") for command in COMMANDS if command.startswith(f"{group} ")]
        return [name for names in SECTIONS.values() for name in names]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command or a group; None for an unknown name."""
        group = _group_of(ctx)
        if not group and cmd_name in GROUPS:
            return _make_group(cmd_name)
        command = f"{group} {cmd_name}".strip()
        return _make_command(command) if command in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the arguments name; fail with the nearest name."""
        if args and args[0] not in self.list_commands(ctx):
            ctx.fail(f"no command {args[0]!r}{_nearest_command(_group_of(ctx), args[0])}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the names and first lines of all commands and groups."""
        group = _group_of(ctx)
        sections = {"Commands": self.list_commands(ctx)} if group else SECTIONS
        for title, names in sections.items():
            with formatter.section(title):
                formatter.write_dl([(name, _help_line(f"{group} {name}".strip())) for name in names])


def _group_of(context: Any) -> str:
    """Return the name of the group that a context belongs to; empty for the root."""
    return "" if context.parent is None else str(context.info_name)


def _help_line(name: str) -> str:
    if name in COMMANDS:
        return COMMANDS[name]
    commands = [command.removeprefix(f"{name} ") for command in COMMANDS if command.startswith(f"{name} ")]
    return f"{GROUPS[name]} Commands: {', '.join(commands)}."


def _make_command(command: str) -> Any:
    from fer_edge.cli.help_pages import Command

    holder = typer.Typer(add_completion=False, rich_markup_mode=None)
    holder.command(command.rpartition(" ")[2], cls=Command)(command_function(command))
    return typer.main.get_command(holder)


def _make_group(name: str) -> Any:
    holder = typer.Typer(cls=LazyGroup, add_completion=False, no_args_is_help=True, rich_markup_mode=None)
    holder.callback(help=GROUPS[name])(lambda: None)
    return typer.main.get_command(holder)


def _nearest_command(group: str, name: str) -> str:
    """Return a hint for an unknown command: `; did you mean checkpoint import?`, or an empty text.

    Args:
        group: Group on the command line; empty for the root.
        name: Unknown name.
    """
    full = f"{group} {name}".strip()
    names = {command.rpartition(" ")[2]: command for command in COMMANDS}
    names.update({command: command for command in [*COMMANDS, *GROUPS]})
    for wrong in (name, full):
        near = get_close_matches(wrong.lower()[:80], names, n=1)
        if near:
            return f"; did you mean {names[near[0]]}?"
    return ""


app = typer.Typer(
    cls=LazyGroup, add_completion=True, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"fer-edge {fer_edge.__version__}")
        raise typer.Exit


def _tracebacks(value: bool) -> None:
    if value:
        os.environ[TRACEBACK] = "1"  # child processes read it too


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
    traceback: bool = typer.Option(
        False, "--traceback", callback=_tracebacks, help="Print Python's traceback with errors, for a bug report."
    ),
) -> None:
    """Facial expression recognition with FER-former, from a checkpoint to an engine on the device."""


# Newer versions of Typer contain a copy of Click, whose exceptions have no public name.
_ClickError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def run(arguments: list[str]) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: Arguments of the command line, without the program's name.

    Raises:
        Exception: Failure of the command. Wrong usage is printed, and the exit code is 2.
    """
    route_messages()
    group = typer.main.get_command(app)
    if COMPLETION in os.environ:
        group.main(arguments, prog_name="fer-edge")  # prints completions and exits
    color = False if os.environ.get("NO_COLOR") else None
    try:
        # Command.main would turn KeyboardInterrupt into an exit without a message.
        with group.make_context("fer-edge", list(arguments), color=color) as context:
            group.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    except _ClickError as error:
        _print_usage_error(error)
        return int(getattr(error, "exit_code", 1))
    return 0


def _print_usage_error(error: Any) -> None:
    """Print wrong usage on one line, with the command that shows the help page."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    from fer_edge.cli.usage_errors import usage_message

    context = getattr(error, "ctx", None)
    command = "fer-edge" if context is None else context.command_path
    print_error(f"{usage_message(error)} (usage: {command} --help)")
