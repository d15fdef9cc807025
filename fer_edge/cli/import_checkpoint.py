"""`fer-edge import-checkpoint`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_edge.cli.foreign_options import (
    DEFAULT_TOWER,
    DEFAULT_WEIGHTS,
    CheckpointOut,
    Retries,
    TowerName,
    TowerWeights,
    download,
)
from fer_edge.cli.options import Json

if TYPE_CHECKING:
    from fer_edge.model.checkpoint import Checkpoint
    from fer_edge.model.foreign import ForeignWeights
    from fer_edge.model.release import ImportReport
    from fer_edge.model.text import TextFeatures


def import_checkpoint(
    source: Annotated[Path, typer.Argument(help="The authors' checkpoint or IR_50: .pth, .safetensors or .npz.")],
    out: CheckpointOut,
    text_features: Annotated[
        Path | None, typer.Option(help="Features of the labels from: fer-edge text-features --labels rafdb.")
    ] = None,
    text_model: TowerName = None,
    text_weights: TowerWeights = None,
    retries: Retries = 0,
    key: Annotated[
        str | None, typer.Option("--key", help="Which weights to take where the file holds several: model_ema for one.")
    ] = None,
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
    from fer_edge._files import check_output
    from fer_edge.errors import EngineUnavailableError
    from fer_edge.labels import label_set

    if not stem and (preset or labels):
        raise typer.BadParameter("--preset and --labels go with --stem; the authors' checkpoints decide both")
    if (stem or text_features is not None) and (text_model or text_weights):
        raise typer.BadParameter(
            "--text-model and --text-weights have no effect beside --stem or --text-features; leave them out"
        )
    check_output(out, source, text_features, None if text_weights is None else Path(text_weights))
    stem_labels = label_set(labels or "rafdb")
    _check_preset(preset or "paper")
    try:
        from fer_edge.model import foreign, text
    except ImportError as error:
        raise EngineUnavailableError(
            f'importing needs PyTorch ({error}); run: pip install "fer-edge[export]"'
        ) from error
    features = None if text_features is None else text.load_text_features(text_features)
    weights = foreign.read_foreign_weights(source)
    if stem:
        from fer_edge.model.release import checkpoint_from_ir50

        checkpoint, report = checkpoint_from_ir50(weights, preset or "paper", stem_labels, features, key=key)
    else:
        tower = (text_model or DEFAULT_TOWER, text_weights or DEFAULT_WEIGHTS)
        checkpoint, report = _import_release(weights, key, features, tower, retries)
    checkpoint.save(out)
    _show(source, out, report, json=json)


def _check_preset(name: str) -> None:
    from fer_edge._text import did_you_mean
    from fer_edge.errors import ConfigError

    if name not in ("paper", "release"):
        hint = did_you_mean(name, ("paper", "release"))
        raise ConfigError(f"--preset {name!r} has no IR_50 as its stem; expected paper or release{hint}")


def _import_release(
    weights: ForeignWeights, key: str | None, features: TextFeatures | None, tower: tuple[str, str], retries: int
) -> tuple[Checkpoint, ImportReport]:
    """The authors' checkpoint; weights that do not fit are refused before a text tower is fetched for them."""
    from fer_edge.labels import RAFDB, TEMPLATES
    from fer_edge.model import release, text

    checkpoint, report = release.load_release(weights, key)
    if features is None:
        features = text.text_features_from_open_clip(*tower, RAFDB.words, TEMPLATES["phrase"], download(retries))
    return text.refold(checkpoint, features), report


def _show(source: Path, out: Path, report: ImportReport, *, json: bool) -> None:
    from fer_edge.cli.output import console, print_json, print_note, print_table

    if report.others:
        others = " and ".join(name.strip(".") or "(no key)" for name in report.others)
        taken = report.prefix.strip(".") or "(no key)"
        print_note(f"{source} holds these weights more than once; took {taken}, and --key takes another: {others}")
    if json:
        print_json({"checkpoint": out, "report": report})
        return
    used = f"below {report.prefix.strip('.')}" if report.prefix else ""
    rows = [("used", len(report.used), used), ("missing", len(report.missing), _some(report.missing))]
    for reason in sorted(set(report.ignored.values())):
        names = [name for name, why in report.ignored.items() if why == reason]
        rows.append(("ignored", len(names), f"{reason}: {_some(names)}"))
    print_table(str(source), ("tensors", "number", "which"), rows)
    console().print(f"wrote {out}", soft_wrap=True)


def _some(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")
