"""The `fer-edge` command. Each command is a module of its own, imported only when it is called or asked for help."""

from __future__ import annotations

import importlib
import os
from typing import Any

import typer
from typer.core import TyperGroup

import fer_edge
from fer_edge._text import did_you_mean, one_line
from fer_edge.cli.entry import TRACEBACK, main
from fer_edge.cli.output import print_error, route_messages

__all__ = ["COMMANDS", "app", "main", "run"]

# Command -> one line of help; the module and function are named as the command.
COMMANDS: dict[str, str] = {
    "build-engine": "Build a bundle of engines from a checkpoint.",
    "add-engine": "Build one more engine for a bundle, on the device it is for; needs no PyTorch.",
    "calibrate": "Measure activation ranges on real images, for int8 and fp16.",
    "parity": "Compare a bundle's engine with PyTorch, stage by stage.",
    "bench": "Measure a bundle on this machine.",
    "bench-compare": "Compare bundles or engines with each other, taking turns.",
    "predict": "Recognise expressions in images.",
    "evaluate": "Measure accuracy on labelled images.",
    "export-triton": "Write a bundle's model into a model repository of Triton Inference Server.",
    "inspect": "Show what a bundle or checkpoint says about itself.",
    "doctor": "Show what this machine can build and run, and why not.",
    "checkpoint import": "Convert weights of another program to a checkpoint.",
    "checkpoint text-features": "Compute text features of the labels with a CLIP text tower.",
    "checkpoint set-prompts": "Replace a checkpoint's text features by those of other prompts.",
    "checkpoint fit-temperature": "Fit a checkpoint's temperature on images that it was not trained on.",
    "train": "Train a model on labelled face images.",
    "ablate": "Repeat the paper's ablations (Tables IV, V and VI) with a recipe.",
}


COMPLETION = "_FER_EDGE_COMPLETE"  # environment variable of a shell that asks for completions


class LazyGroup(TyperGroup):
    """Knows its commands by name and help line alone."""

    prefix = ""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name == "checkpoint":
            group = typer.Typer(cls=CheckpointGroup, add_completion=False, no_args_is_help=True, rich_markup_mode=None)
            group.callback()(lambda: None)
            return typer.main.get_command(group)
        if self.prefix + cmd_name not in COMMANDS:
            return None
        name = (self.prefix + cmd_name).replace("-", "_").replace(" ", "_")
        command = typer.Typer(add_completion=False, rich_markup_mode=None)
        command.command(cmd_name)(getattr(importlib.import_module(f"fer_edge.cli.{name}"), name))
        return typer.main.get_command(command)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and self.prefix + args[0] not in [*COMMANDS, "checkpoint"]:
            ctx.fail(f"No such command {args[0]!r}{did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


class CheckpointGroup(LazyGroup):
    """Commands that convert checkpoints."""

    prefix = "checkpoint "


app = typer.Typer(
    cls=LazyGroup, add_completion=True, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"fer-edge {fer_edge.__version__}")
        raise typer.Exit


def _tracebacks(value: bool) -> None:
    if value:
        os.environ[TRACEBACK] = "1"  # child processes see it too


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
    traceback: bool = typer.Option(
        False, "--traceback", callback=_tracebacks, help="Print Python's traceback of errors too, for a report."
    ),
) -> None:
    """Facial expression recognition with FER-former, from a checkpoint to an engine on the device."""


# Typer's own copy of Click has no public name for it.
_ClickError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def run(arguments: list[str]) -> int:
    """Run a command; its exit code.

    Args:
        arguments: Of the command line, without the program's name.

    Raises:
        Exception: The command failed. Wrong usage is printed and gives 2.
    """
    route_messages()
    group = typer.main.get_command(app)
    if COMPLETION in os.environ:
        group.main(arguments, prog_name="fer-edge")  # the shell asks
    try:
        # Command.main would turn KeyboardInterrupt into an exit without a word.
        with group.make_context("fer-edge", list(arguments)) as context:
            group.invoke(context)
    except typer.Exit as leaving:
        return leaving.exit_code
    except _ClickError as error:
        _print_usage(error)
        return int(getattr(error, "exit_code", 1))
    return 0


def _print_usage(error: Any) -> None:
    """Wrong usage on one line, with the command that shows the right one."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    context = getattr(error, "ctx", None)
    command = "fer-edge" if context is None else context.command_path
    message = one_line(error.format_message()).removeprefix("Invalid value: ").rstrip(".")
    print_error(f"{message} (usage: {command} --help)")
