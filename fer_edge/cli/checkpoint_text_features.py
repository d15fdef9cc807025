"""`fer-edge checkpoint text-features`."""

from __future__ import annotations

from fer_edge.cli import options


def checkpoint_text_features(
    out: options.FeaturesOut,
    labels: options.Labels = "ferplus",
    template: options.Templates = None,
    text_model: options.TextModel = None,
    text_weights: options.TextWeights = None,
    retries: options.Retries = 0,
    json: options.Json = False,
) -> None:
    """Compute text features of the labels with a text encoder.

    `--text-model minilm` needs the extra `text` and no network; other encoders are the text towers of open_clip.

    Example: fer-edge checkpoint text-features -o text.safetensors --labels ferplus --template active
    """
    from fer_edge.cli.option_checks import check_out_file
    from fer_edge.cli.output import print_result, progress
    from fer_edge.model.conversion import make_text_features

    check_out_file(out, ".safetensors", "a file of text features")
    result = make_text_features(
        out,
        labels=labels,
        templates=template,
        text_model=text_model,
        text_weights=text_weights,
        retries=retries,
        progress=progress,
    )
    print_result(result, as_json=json)
