"""Files to write, checked before the work that they are to hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import typer

from fer_edge._files import check_output


def check_file_to_write(out: Path, suffix: str, what: str) -> None:
    """Refuse a path that no file can be written to, or that other commands would not take.

    Args:
        out: File to write.
        suffix: Ending that it must have, ".fer".
        what: Noun for the message, "a bundle".

    Raises:
        BadParameter: The name ends otherwise, or is that of a folder.
    """
    if out.suffix != suffix:
        raise typer.BadParameter(f"the output is {out}; the name of {what} ends in {suffix}: {out.with_suffix(suffix)}")
    if out.is_dir():
        raise typer.BadParameter(f"the output {out} is a folder; name a file")


def check_outputs(outputs: Mapping[str, Path | None], *inputs: Path | None) -> None:
    """Refuse outputs of a command that are inputs, or the same file twice.

    Args:
        outputs: Option -> file to write; None for one that was not given.
        inputs: Files and folders that are read.

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
