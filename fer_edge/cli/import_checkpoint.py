"""`fer-edge import-checkpoint`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli.options import Json, TextModel, TextWeights


def import_checkpoint(
    source: Annotated[Path, typer.Argument(help="The authors' checkpoint or IR_50: .pth, .safetensors or .npz.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Checkpoint to write (.safetensors).")],
    text_features: Annotated[
        Path | None, typer.Option(help="Features of the labels from: fer-edge text-features --labels rafdb.")
    ] = None,
    text_model: TextModel = "ViT-B-32",
    text_weights: TextWeights = "openai",
    stem: Annotated[
        bool, typer.Option("--stem", help="The file is face.evoLVe's IR_50: a stem; the rest is fresh, to be trained.")
    ] = False,
    preset: Annotated[str | None, typer.Option(help="With --stem: paper (default) or release.")] = None,
    labels: Annotated[str | None, typer.Option(help="With --stem: rafdb (default), ferplus or sfew.")] = None,
    json: Json = False,
) -> None:
    """Turn weights made elsewhere into a fer-edge checkpoint.

    The authors' checkpoints hold no text features; those come from a file or a CLIP text tower. With --stem, text
    features are random unless a file is given, and are learned in training.

    Example: fer-edge import-checkpoint best.pth -o release.safetensors --text-features text.safetensors
    """
    from fer_edge.cli.output import console, print_json, print_table
    from fer_edge.errors import EngineUnavailable
    from fer_edge.labels import RAFDB, TEMPLATES, label_set

    if not stem and (preset or labels):
        raise typer.BadParameter("--preset and --labels go with --stem; the authors' checkpoints decide both")
    try:
        from fer_edge.model import release, text
    except ImportError as error:
        raise EngineUnavailable(f'importing needs PyTorch ({error}); run: pip install "fer-edge[export]"') from error
    tensors = release.read_foreign_weights(source)
    features = None if text_features is None else text.load_text_features(text_features)
    if stem:
        checkpoint, report = release.checkpoint_from_ir50(
            tensors, preset or "paper", label_set(labels or "rafdb"), features
        )
    else:
        if features is None:
            features = text.text_features_from_open_clip(text_model, text_weights, RAFDB.words, TEMPLATES["phrase"])
        checkpoint, report = release.load_release(tensors, features)
    checkpoint.save(out)
    if json:
        print_json({"checkpoint": out, "report": report})
        return
    rows = [("used", len(report.used), ""), ("missing", len(report.missing), _some(report.missing))]
    for reason in sorted(set(report.ignored.values())):
        names = [name for name, why in report.ignored.items() if why == reason]
        rows.append(("ignored", len(names), f"{reason}: {_some(names)}"))
    print_table(str(source), ("tensors", "number", "which"), rows)
    console().print(f"wrote {out}")


def _some(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")
