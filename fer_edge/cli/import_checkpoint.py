"""`fer-edge import-checkpoint`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli.options import Json


def import_checkpoint(
    source: Annotated[Path, typer.Argument(help="The authors' checkpoint: .pth, .safetensors or .npz.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Checkpoint to write (.safetensors).")],
    text_features: Annotated[
        Path | None, typer.Option(help="Features of the labels from: fer-edge text-features --labels rafdb.")
    ] = None,
    text_model: Annotated[str, typer.Option(help="open_clip's model name, without a features file.")] = "ViT-B-32",
    text_weights: Annotated[str, typer.Option(help="open_clip's tag, or a local file.")] = "openai",
    json: Json = False,
) -> None:
    """Turn the authors' checkpoint into a fer-edge checkpoint.

    Their checkpoints hold no text features; those come from a file or a CLIP text tower.

    Example: fer-edge import-checkpoint best.pth -o release.safetensors --text-features text.safetensors
    """
    from fer_edge.cli.output import console, print_json, print_table
    from fer_edge.errors import EngineUnavailable
    from fer_edge.labels import RAFDB, TEMPLATES

    try:
        from fer_edge.model import release, text
    except ImportError as error:
        raise EngineUnavailable(f'importing needs PyTorch ({error}); run: pip install "fer-edge[export]"') from error
    tensors = release.read_foreign_weights(source)
    if text_features is not None:
        features = text.load_text_features(text_features)
    else:
        features = text.text_features_from_open_clip(text_model, text_weights, RAFDB.words, TEMPLATES["phrase"])
    checkpoint, report = release.load_release(tensors, features)
    checkpoint.save(out)
    if json:
        print_json({"checkpoint": out, "report": report})
        return
    rows = [("used", len(report.used), ""), ("missing", len(report.missing), ", ".join(report.missing))]
    for reason in sorted(set(report.ignored.values())):
        names = [name for name, why in report.ignored.items() if why == reason]
        rows.append(("ignored", len(names), f"{reason}: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}"))
    print_table(str(source), ("tensors", "number", "which"), rows)
    console().print(f"wrote {out}")
