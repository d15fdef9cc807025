"""The `fer-edge` command. Each command is a module of its own, imported only when it is called or asked for help."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

import fer_edge
from fer_edge.errors import ConfigError, FerEdgeError

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
    "import-checkpoint": "Turn weights made elsewhere into a fer-edge checkpoint.",
    "text-features": "Make text features of the labels with a CLIP text tower.",
    "refold": "Give a checkpoint the text features of other prompts.",
    "fit-temperature": "Fit a checkpoint's temperature, so that its probabilities mean what they say.",
    "train": "Train a model on labelled faces.",
    "ablate": "Repeat the paper's ablations, Tables IV, V and VI, on a recipe.",
}


class LazyGroup(TyperGroup):
    """Knows its commands by name and help line alone."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command = typer.Typer(add_completion=False, rich_markup_mode=None)
        command.command(cmd_name)(getattr(importlib.import_module(f"fer_edge.cli.{name}"), name))
        return typer.main.get_command(command)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(
    cls=LazyGroup, add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"fer-edge {fer_edge.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """Facial expression recognition with FER-former, from a checkpoint to an engine on the device."""


# What a full disk, a quota or a closed output says; other OSErrors are of files and tell of our own mistakes.
_OUTPUT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


def main() -> None:
    """Run the command; user errors print one line and exit with 1, wrong usage with 2.

    Usage is what is said on the command line and in recipes: what cannot be right whatever the files and machine are.
    """
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")  # file names may hold what the output cannot, as on stderr
    try:
        _run_and_flush()
    except FerEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, ConfigError) else 1) from None
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        _drop_output()  # whoever read it has gone
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno not in _OUTPUT_ERRORS or error.filename is not None:
            raise
        _drop_output()
        print(f"error: cannot write the output: {error.strerror}", file=sys.stderr)
        raise SystemExit(1) from None


def _run_and_flush() -> None:
    try:
        app()
    except SystemExit:
        # The interpreter flushes too, but only once nobody can catch what goes wrong.
        if sys.stdout is not None:
            sys.stdout.flush()
        raise


def _drop_output() -> None:
    # Closing stdout again at exit would print a traceback.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
