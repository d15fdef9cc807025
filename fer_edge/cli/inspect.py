"""`fer-edge inspect`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fer_edge.cli.options import Json


def inspect(
    file: Annotated[Path, typer.Argument(help="A bundle (.fer) or a checkpoint (.safetensors).")],
    json: Json = False,
) -> None:
    """Show what a bundle or checkpoint says about itself.

    A bundle is verified whole; no engine is loaded.

    Example: fer-edge inspect edge.fer
    """
    from fer_edge.cli.output import print_json, print_table

    described = _bundle(file) if file.suffix != ".safetensors" else _checkpoint(file)
    if json:
        print_json(described)
        return
    print_table(str(file), ("field", "value"), [(name, _short(value)) for name, value in described.items()])


def _bundle(file: Path) -> dict[str, Any]:
    from fer_edge.bundle import Bundle

    return asdict(Bundle.open(file).manifest)


def _checkpoint(file: Path) -> dict[str, Any]:
    from fer_edge.errors import EngineUnavailable

    try:
        from fer_edge.model.checkpoint import read_checkpoint_info
    except ImportError as error:
        raise EngineUnavailable(
            f'reading checkpoints needs PyTorch ({error}); run: pip install "fer-edge[export]"'
        ) from error
    return asdict(read_checkpoint_info(file))


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name}: {_short(inner)}" for name, inner in value.items()) or "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(_short(inner) for inner in value) or "-"
    return str(value)
