"""`fer-edge checkpoint set-prompts`."""

from __future__ import annotations

from fer_edge.cli import options


def checkpoint_set_prompts(
    checkpoint: options.CheckpointArgument,
    out: options.CheckpointOut,
    text_features: options.TextFeatures = None,
    template: options.Templates = None,
    text_model: options.TextModel = None,
    text_weights: options.TextWeights = None,
    retries: options.Retries = 0,
    json: options.Json = False,
) -> None:
    """Replace a checkpoint's text features by those of other prompts.

    No weights are trained. The text features come from a file, or are computed with a text encoder.

    Example: fer-edge checkpoint set-prompts release.safetensors --template active -o active.safetensors
    """
    from fer_edge.cli.option_checks import check_out_file
    from fer_edge.cli.output import print_result, progress
    from fer_edge.model.conversion import set_prompts

    check_out_file(out, ".safetensors", "a checkpoint")
    result = set_prompts(
        checkpoint,
        out,
        text_features=text_features,
        templates=template,
        text_model=text_model,
        text_weights=text_weights,
        retries=retries,
        progress=progress,
    )
    print_result(result, as_json=json)
