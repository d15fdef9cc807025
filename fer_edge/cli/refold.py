"""`fer-edge refold`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli.options import Json, Template, TextModel, TextWeights, shipped


def refold(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A checkpoint with text features of a text tower.", callback=shipped("checkpoint")),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Checkpoint to write (.safetensors).")],
    text_features: Annotated[Path | None, typer.Option(help="Features from: fer-edge text-features.")] = None,
    template: Template = None,
    text_model: TextModel = "ViT-B-32",
    text_weights: TextWeights = "openai",
    json: Json = False,
) -> None:
    """Give a checkpoint the text features of other prompts.

    Nothing is trained; the prompts' features come from a file or from a CLIP text tower.

    Example: fer-edge refold release.safetensors --template active -o active.safetensors
    """
    from fer_edge.cli.output import console, err_console, print_json
    from fer_edge.errors import EngineUnavailable
    from fer_edge.labels import templates_named

    try:
        from fer_edge.model import text
        from fer_edge.model.checkpoint import load_checkpoint
    except ImportError as error:
        raise EngineUnavailable(f'refolding needs PyTorch ({error}); run: pip install "fer-edge[export]"') from error
    if text_features is not None and template:
        raise typer.BadParameter("--text-features has its own templates; leave out --template, or the file")
    loaded = load_checkpoint(checkpoint)
    text.refoldable_head(loaded)
    if text_features is not None:
        features = text.load_text_features(text_features)
    else:
        templates = templates_named(template or ["phrase"])
        with err_console().status(f"running {text_model}"):
            features = text.text_features_from_open_clip(text_model, text_weights, loaded.info.words, templates)
    text.refold(loaded, features).save(out)
    if json:
        print_json({"checkpoint": out, "templates": features.templates, "source": features.source})
        return
    console().print(f"wrote {out}: text features from {features.source}, prompts {'; '.join(features.templates)}")
