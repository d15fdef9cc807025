"""`fer-edge inspect`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fer_edge.cli.option_checks import shipped_path
from fer_edge.cli.options import Json

if TYPE_CHECKING:
    from fer_edge.bundle import Bundle

Lines = list[tuple[str, str]]  # what a line is about, and what it says


def inspect(
    file: Annotated[
        Path,
        typer.Argument(
            help="Bundle (.fer) or checkpoint (.safetensors), or `edge`, the shipped bundle.",
            callback=shipped_path("bundle"),
        ),
    ],
    full: Annotated[bool, typer.Option("--full", help="Show everything, as an indented tree.")] = False,
    json: Json = False,
) -> None:
    """Show what a bundle or checkpoint says about itself.

    A bundle is verified whole; no engine is loaded.

    Example: fer-edge inspect edge.fer
    """
    from fer_edge._files import file_sha256
    from fer_edge.cli.output import print_fields, print_json, print_line
    from fer_edge.evaluation.open_model import model_format

    if full and json:
        raise typer.BadParameter("--json shows everything; leave out --full")
    kind = model_format(file)
    lines, described = _bundle(file) if kind == "bundle" else _checkpoint(file)
    size, checksum = file.stat().st_size, file_sha256(file)
    if json:
        print_json({"file": {"path": file, "kind": kind, "bytes": size, "sha256": checksum}, **described})
        return
    verified = ", every member as its hash says" if kind == "bundle" else ""
    print_line(f"{file}: a {kind}, {size / 1e6:.1f} MB{verified}")
    print_fields([*lines, ("sha256", checksum)])
    if full:
        for line in tree(described):
            print_line(line)
    else:
        print_line("everything: --full; for programs: --json")


def _bundle(file: Path) -> tuple[Lines, dict[str, Any]]:
    from fer_edge.bundle import Bundle

    bundle = Bundle.open(file)
    manifest = bundle.manifest
    reasons = {entry.engine: _why_not(bundle, entry.engine) for entry in manifest.engines}
    engines = [
        f"{entry.engine} ({', '.join(entry.targets)}) {_runs(reasons[entry.engine])}" for entry in manifest.engines
    ]
    lines: Lines = [
        ("precision", f"{manifest.precision}, batches of up to {manifest.max_batch}"),
        ("engines", "; ".join(engines) or "none"),
        ("labels", ", ".join(manifest.labels)),
        ("accuracy", f"of its checkpoint: {_accuracy(manifest.checkpoint.get('metrics'))}"),
    ]
    for tuning in manifest.tunings:
        lines.append(("tuned", f"{tuning.engine} for {tuning.target} on {tuning.machine}: {tuning.threads} threads"))
    runs = {engine: {"runs": not reason, "reason": reason} for engine, reason in reasons.items()}
    return lines, {**asdict(manifest), "runs_here": runs}


def _why_not(bundle: Bundle, engine: str) -> str:
    """Why an engine of a bundle does not run on this machine; empty if it does, as far as is known unloaded."""
    from fer_edge.engines.registry import get_engine
    from fer_edge.errors import FerEdgeError

    try:
        get_engine(engine).version()
        get_engine(engine).check_runnable()
        bundle._check_fits(bundle.entry(engine), 0)
    except FerEdgeError as error:
        return str(error)
    return ""


def _runs(reason: str) -> str:
    return f"does not run here: {reason}" if reason else "runs here"


def _checkpoint(file: Path) -> tuple[Lines, dict[str, Any]]:
    from fer_edge.errors import EngineUnavailableError

    try:
        from fer_edge.model.checkpoint import read_checkpoint_info
    except ImportError as error:
        raise EngineUnavailableError(
            f'reading checkpoints needs PyTorch ({error}); run: pip install "fer-edge[export]"'
        ) from error
    info = read_checkpoint_info(file)
    heads = "label and text head" if info.config.text_head else "label head"
    lines: Lines = [
        ("model", f"{info.config.depth} blocks of width {info.config.dim}, {info.config.stem.color} stem, {heads}"),
        ("runs on", "PyTorch; fer-edge build-engine makes a bundle of it"),
        ("labels", ", ".join(info.labels)),
        ("accuracy", _accuracy(info.metrics)),
    ]
    return lines, asdict(info)


def _accuracy(metrics: Any) -> str:
    """What a checkpoint recorded of its validation; metrics are anyone's JSON."""
    from fer_edge.evaluation.intervals import wilson

    recorded = metrics if isinstance(metrics, dict) else {}
    accuracy, images = recorded.get("validation_accuracy"), recorded.get("validation_images")
    if not isinstance(accuracy, (int, float)) or not 0 <= accuracy <= 100:
        return "not recorded; measure it with fer-edge evaluate"
    text = f"{accuracy:.2f} % on validation"
    if isinstance(images, int) and images > 0:
        text = f"{accuracy:.2f} % of {images} validation images (95 %: {wilson(accuracy / 100, images)})"
    fit = recorded.get("temperature")
    error = fit.get("error_after") if isinstance(fit, dict) else None
    return f"{text}, calibration error {error:.3f}" if isinstance(error, float) else text


def tree(value: dict[str, Any], depth: int = 1) -> Iterator[str]:
    """Lines of nested data: two blanks for each level, lists of plain values on one line, figures to six digits."""
    for name, inner in value.items():
        start = f"{'  ' * depth}{name}:"
        if isinstance(inner, dict) and inner:
            yield start
            yield from tree(inner, depth + 1)
        elif isinstance(inner, (list, tuple)) and any(isinstance(item, dict) for item in inner):
            yield start
            for index, item in enumerate(inner, 1):
                yield from tree({str(index): item}, depth + 1)
        else:
            yield f"{start} {_plain(inner)}"


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(inner) for inner in value) or "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value in (None, {}, "") else str(value)
