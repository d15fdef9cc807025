"""`fer-edge text-features`."""

from __future__ import annotations

from pathlib import Path

from fer_edge.cli.foreign_options import (
    DEFAULT_TOWER,
    DEFAULT_WEIGHTS,
    FeaturesOut,
    Retries,
    TowerName,
    TowerWeights,
    download,
    prompt_templates,
)
from fer_edge.cli.options import Json, Labels, Templates


def text_features(
    out: FeaturesOut,
    labels: Labels = "ferplus",
    template: Templates = None,
    text_model: TowerName = None,
    text_weights: TowerWeights = None,
    retries: Retries = 0,
    json: Json = False,
) -> None:
    """Make text features of the labels with a CLIP text tower.

    Example: fer-edge text-features -o text.safetensors --labels ferplus --template active
    """
    from fer_edge._files import check_output
    from fer_edge.cli.output import console, err_console, print_json
    from fer_edge.errors import EngineUnavailableError
    from fer_edge.labels import label_set

    words = label_set(labels).words
    templates = prompt_templates(template, words)
    tower, weights = text_model or DEFAULT_TOWER, text_weights or DEFAULT_WEIGHTS
    check_output(out, Path(weights))
    try:
        from fer_edge.model.text import save_text_features, text_features_from_open_clip
    except ImportError as error:
        raise EngineUnavailableError(
            f'text features need PyTorch ({error}); run: pip install "fer-edge[train]"'
        ) from error
    with err_console().status(f"running {tower}"):
        features = text_features_from_open_clip(tower, weights, words, templates, download(retries))
    save_text_features(out, features)
    shape, source = list(features.matrix.shape), features.source
    if json:
        print_json({"file": out, "shape": shape, "words": words, "templates": templates, "source": source})
        return
    console().print(f"{out}: {shape[0]} labels, {shape[1]} wide, from {source}", soft_wrap=True)
