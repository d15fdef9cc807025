"""Descriptions of bundle and checkpoint files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_edge._files import SHOWN_HASH, file_sha256
from fer_edge._require import require
from fer_edge.errors import FerEdgeError
from fer_edge.evaluation.intervals import wilson
from fer_edge.evaluation.open_model import model_format

if TYPE_CHECKING:
    from fer_edge.bundle import Bundle
    from fer_edge.manifest import DataRecord, Manifest

Fields = list[tuple[str, str]]


@dataclass(frozen=True)
class FileDescription:
    """Description of a bundle or checkpoint.

    Attributes:
        path: File.
        kind: "bundle" or "checkpoint".
        size: Size of the file, in bytes.
        sha256: SHA-256 of the file, in hexadecimal.
        fields: Names and values of a short description.
        contents: All metadata of the file.
    """

    path: Path
    kind: str
    size: int
    sha256: str
    fields: Fields
    contents: dict[str, Any]


def describe_file(path: Path) -> FileDescription:
    """Describe a bundle or checkpoint. A bundle's members are compared with their hashes; no engine is loaded.

    Args:
        path: Bundle or checkpoint.

    Raises:
        BundleError: Bundle that is damaged or cannot be read.
        CheckpointError: Checkpoint that cannot be read.
        EngineUnavailableError: A checkpoint, and PyTorch is not installed.
        FerEdgeError: File of another kind.
    """
    kind = model_format(path)
    fields, contents = _describe_bundle(path) if kind == "bundle" else _describe_checkpoint(path)
    return FileDescription(path, kind, path.stat().st_size, file_sha256(path), fields, contents)


def _describe_bundle(path: Path) -> tuple[Fields, dict[str, Any]]:
    from fer_edge.bundle import Bundle

    bundle = Bundle.open(path)
    manifest = bundle.manifest
    reasons = {entry.engine: _unsupported_reason(bundle, entry.engine) for entry in manifest.engines}
    engines = []
    for entry in manifest.engines:
        reason = reasons[entry.engine]
        state = f"does not run here: {reason}" if reason else "runs here"
        engines.append(f"{entry.engine} ({', '.join(entry.targets)}) {state}")
    fields = [
        ("name", manifest.name),
        ("precision", f"{manifest.precision}, batches of up to {manifest.max_batch}"),
        ("engines", "; ".join(engines) or "none"),
        ("labels", ", ".join(manifest.labels)),
        ("accuracy", f"of its checkpoint: {_describe_accuracy(manifest.checkpoint.get('metrics'))}"),
        *_describe_origin(manifest),
    ]
    runs = {engine: {"runs": not reason, "reason": reason} for engine, reason in reasons.items()}
    return fields, {**asdict(manifest), "runs_here": runs}


def _describe_origin(manifest: Manifest) -> Fields:
    """Describe the inputs and tools of a bundle, with the first digits of hashes; unknown ones are left out."""
    inputs = manifest.provenance
    recipe = inputs.recipe
    fields = [
        ("checkpoint", _short_hash(manifest.checkpoint.get("sha256"))),
        ("recipe", "" if recipe is None else f"{recipe.name}, {_short_hash(recipe.sha256)}"),
        ("changed", "" if recipe is None else ", ".join(recipe.overrides)),
        ("ranges", _short_hash(inputs.ranges)),
        *((data.use, _describe_data(data)) for data in inputs.data),
        ("made with", ", ".join(f"{name} {version}" for name, version in manifest.created_with.items())),
    ]
    return [(name, value) for name, value in fields if value]


def _describe_data(data: DataRecord) -> str:
    name = f" of {data.name}" if data.name else ""
    return f"{data.count} images{name}, {_short_hash(data.sha256) or 'unknown SHA-256'}"


def _short_hash(digest: object) -> str:
    """Describe a SHA-256, which may be of any type in a manifest; empty if unknown."""
    return f"SHA-256 {digest[:SHOWN_HASH]}" if isinstance(digest, str) and digest else ""


def _unsupported_reason(bundle: Bundle, engine: str) -> str:
    """Return the reason why an engine does not run on this machine; empty if no check without loading it fails."""
    from fer_edge.engines.registry import get_engine

    try:
        get_engine(engine).version()
        get_engine(engine).check_runnable()
        bundle.check_compatible(bundle.entry(engine))
    except FerEdgeError as error:
        return str(error)
    return ""


def _describe_checkpoint(path: Path) -> tuple[Fields, dict[str, Any]]:
    require("torch", "export", "reading checkpoints")
    from fer_edge.model.checkpoint import read_checkpoint_info

    info = read_checkpoint_info(path)
    heads = "label and text head" if info.config.text_head else "label head"
    fields = [
        ("model", f"{info.config.depth} blocks of width {info.config.dim}, {info.config.stem.color} stem, {heads}"),
        ("runs on", "PyTorch; fer-edge build-engine builds a bundle from it"),
        ("labels", ", ".join(info.labels)),
        ("text", f"features: {info.text_source}"),
        ("accuracy", _describe_accuracy(info.metrics)),
    ]
    return fields, asdict(info)


def _describe_accuracy(metrics: Any) -> str:
    """Describe the validation accuracy in a checkpoint's metrics, which may be any JSON value."""
    values = metrics if isinstance(metrics, dict) else {}
    accuracy, images = values.get("validation_accuracy"), values.get("validation_images")
    if not isinstance(accuracy, (int, float)) or not 0 <= accuracy <= 100:
        return "not recorded; measure it with fer-edge evaluate"
    text = f"{accuracy:.2f} % on validation"
    if isinstance(images, int) and images > 0:
        text = f"{accuracy:.2f} % of {images} validation images (95 %: {wilson(accuracy / 100, images)})"
    fit = values.get("temperature")
    error = fit.get("error_after") if isinstance(fit, dict) else None
    return f"{text}, calibration error {error:.3f}" if isinstance(error, float) else text
