"""Options of the commands that make checkpoints and text features out of other files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_edge.errors import ConfigError

if TYPE_CHECKING:
    from fer_edge.model.hub import Download

DEFAULT_TOWER, DEFAULT_WEIGHTS = "ViT-B-32", "openai"


def _safetensors(out: Path) -> Path:
    if out.is_dir():
        raise ConfigError(f"-o {out} is a folder; name a file to write (.safetensors)")
    if out.suffix != ".safetensors":
        raise ConfigError(f"-o {out} does not end in .safetensors, which the other commands expect: name it so")
    return out


CheckpointOut = Annotated[
    Path, typer.Option("-o", "--out", callback=_safetensors, help="Checkpoint to write (.safetensors).")
]
FeaturesOut = Annotated[Path, typer.Option("-o", "--out", callback=_safetensors, help="File to write (.safetensors).")]
TowerName = Annotated[
    str | None, typer.Option("--text-model", help=f"open_clip's model name; {DEFAULT_TOWER} if none.")
]
TowerWeights = Annotated[
    str | None,
    typer.Option(
        "--text-weights",
        help="open_clip's tag, which is downloaded unless it is in the cache, a local file, or untrained (random, for "
        f"trials); {DEFAULT_WEIGHTS} if none.",
    ),
]
Retries = Annotated[
    int, typer.Option("--retries", min=0, help="Further attempts to connect, where weights must be downloaded.")
]


def prompt_templates(names: list[str] | None, words: tuple[str, ...]) -> tuple[str, ...]:
    """Prompt templates by name or as given, `phrase` if none, seen to make a prompt of each word.

    Raises:
        ConfigError: A name is not known, or a template has no place for the word.
    """
    from fer_edge.labels import expand_templates, prompts_for

    templates = expand_templates(names or ["phrase"])
    if not templates:
        raise ConfigError("the template none makes no prompt; name another, or a prompt with {}")
    prompts_for(words, templates)
    return templates


def download(retries: int) -> Download:
    """How weights are fetched: with a line on stderr before it begins."""
    from fer_edge.cli.output import print_note
    from fer_edge.model.hub import Download

    return Download(retries, print_note)
