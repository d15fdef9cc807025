"""`fer-edge refold`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli.foreign_options import (
    DEFAULT_TOWER,
    DEFAULT_WEIGHTS,
    CheckpointOut,
    Retries,
    TowerName,
    TowerWeights,
    download,
    prompt_templates,
)
from fer_edge.cli.option_checks import shipped_path
from fer_edge.cli.options import Json, Templates


def refold(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A checkpoint with text features of a text tower.", callback=shipped_path("checkpoint")),
    ],
    out: CheckpointOut,
    text_features: Annotated[Path | None, typer.Option(help="Features from: fer-edge text-features.")] = None,
    template: Templates = None,
    text_model: TowerName = None,
    text_weights: TowerWeights = None,
    retries: Retries = 0,
    json: Json = False,
) -> None:
    """Give a checkpoint the text features of other prompts.

    Nothing is trained; the prompts' features come from a file or from a CLIP text tower.

    Example: fer-edge refold release.safetensors --template active -o active.safetensors
    """
    from fer_edge._files import check_output
    from fer_edge.cli.output import console, err_console, print_json
    from fer_edge.errors import EngineUnavailableError

    if text_features is not None and template:
        raise typer.BadParameter("--text-features has its own templates; leave out --template, or the file")
    if text_features is not None and (text_model or text_weights):
        raise typer.BadParameter("--text-features takes no text tower; leave out --text-model and --text-weights")
    check_output(out, checkpoint, text_features, None if text_weights is None else Path(text_weights))
    prompt_templates(template, ("word",))
    try:
        from fer_edge.model import text
        from fer_edge.model.checkpoint import load_checkpoint
    except ImportError as error:
        raise EngineUnavailableError(
            f'refolding needs PyTorch ({error}); run: pip install "fer-edge[export]"'
        ) from error
    loaded = load_checkpoint(checkpoint)
    text.refoldable_head(loaded)
    if text_features is not None:
        features = text.load_text_features(text_features)
    else:
        words = loaded.info.words
        tower, weights = text_model or DEFAULT_TOWER, text_weights or DEFAULT_WEIGHTS
        with err_console().status(f"running {tower}"):
            features = text.text_features_from_open_clip(
                tower, weights, words, prompt_templates(template, words), download(retries)
            )
    text.refold(loaded, features).save(out)
    if json:
        print_json({"checkpoint": out, "templates": features.templates, "source": features.source})
        return
    console().print(
        f"wrote {out}: text features from {features.source}, prompts {'; '.join(features.templates)}", soft_wrap=True
    )
