"""`fer-edge text-features`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli.options import Json, Labels, Template, TextModel, TextWeights


def text_features(
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write (.safetensors).")],
    labels: Labels = "ferplus",
    template: Template = None,
    text_model: TextModel = "ViT-B-32",
    text_weights: TextWeights = "openai",
    json: Json = False,
) -> None:
    """Make text features of the labels with a CLIP text tower.

    Example: fer-edge text-features -o text.safetensors --labels ferplus --template active
    """
    from fer_edge.cli.output import console, err_console, print_json
    from fer_edge.errors import EngineUnavailable
    from fer_edge.labels import label_set, templates_named

    try:
        from fer_edge.model.text import save_text_features, text_features_from_open_clip
    except ImportError as error:
        raise EngineUnavailable(f'text features need PyTorch ({error}); run: pip install "fer-edge[train]"') from error
    words = label_set(labels).words
    templates = templates_named(template or ["phrase"])
    with err_console().status(f"running {text_model}"):
        features = text_features_from_open_clip(text_model, text_weights, words, templates)
    save_text_features(out, features)
    shape, source = list(features.matrix.shape), features.source
    if json:
        print_json({"file": out, "shape": shape, "words": words, "templates": templates, "source": source})
        return
    console().print(f"{out}: {shape[0]} labels, {shape[1]} wide, from {source}")
