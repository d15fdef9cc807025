"""One more engine for a bundle, built from its own `model.onnx`: needs neither torch nor the checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import fer_edge
from fer_edge.bundle import MODEL, Bundle, EngineEntry, Manifest, recorded_options, write_bundle
from fer_edge.engines.base import BuildRequest, BuiltEngine, ExecutedOperator, Precision
from fer_edge.engines.registry import get_engine
from fer_edge.errors import BundleError

Prove = Callable[[str, bytes, tuple[ExecutedOperator, ...]], dict[str, Any]]


def add_engine(
    bundle: Bundle,
    out: Path,
    name: str,
    *,
    targets: tuple[str, ...] = (),
    options: Mapping[str, Any] | None = None,
    prove: Prove | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Manifest:
    """Build an engine from a bundle's model and write a bundle that has it first.

    What others write into the bundle meanwhile, engines and tunings, is kept.

    Args:
        bundle: Where the model, its precision and its largest batch come from.
        out: The `.fer` file to write; may be the bundle's own.
        name: The engine. One of that name in the bundle is replaced, and what was tuned for it is dropped.
        targets: GPU targets.
        options: The engine's own build options.
        prove: Compares what the engine executes with the model, `fer_edge.export.precision.proven` for one; without it
            the bundle holds no proof for this engine.
        progress: Told what a long build does: phase, steps done, steps in all.

    Raises:
        BundleError: The bundle was given another model meanwhile; nothing is written then.
        FerEdgeError: The engine cannot be built; nothing is written then.
    """
    manifest, engine = bundle.manifest, get_engine(name)
    options = options or {}
    engine.check_options(options)
    model = bundle.read(MODEL)
    precision = cast(Precision, manifest.precision)  # one that this version knows, or the bundle had not been opened
    built = engine.build(model, BuildRequest(precision, targets, manifest.max_batch, options, progress))
    proof = {} if prove is None else prove(name, model, built.operators)
    bundle = _present(bundle)
    manifest = bundle.manifest
    kept = tuple(entry for entry in manifest.engines if entry.engine != name)
    replaced = [entry for entry in manifest.engines if entry.engine == name]
    gone = {member for entry in replaced for member in (entry.file, *_members(name, entry.targets))}
    members = {member: bundle.read(member) for member in manifest.files if member not in gone}
    entry, files = entry_and_files(name, built, options, proof)
    members.update(files)
    tools = {**manifest.created_with, f"fer_edge ({name})": fer_edge.__version__}
    tunings = tuple(tuning for tuning in manifest.tunings if tuning.engine != name)  # the new engine has none yet
    changed = replace(manifest, engines=(entry, *kept), tunings=tunings, created_with=tools)
    write_bundle(out, changed, members)
    return Bundle.open(out).manifest


def _present(bundle: Bundle) -> Bundle:
    """The bundle as its file is by now: while an engine was built, others may have written into it.

    Raises:
        BundleError: It cannot be read any more, or has another model: the engine would not be of it.
    """
    fresh = Bundle.open(bundle.path)

    def model(manifest: Manifest) -> tuple[object, ...]:
        return manifest.files[MODEL], manifest.precision, manifest.max_batch

    if model(fresh.manifest) != model(bundle.manifest):
        raise BundleError(
            f"{bundle.path} was given another model, precision or largest batch while the engine was built for what "
            "it had; nothing was written: run it again"
        )
    return fresh


def entry_and_files(
    name: str, built: BuiltEngine, options: Mapping[str, Any], proof: dict[str, Any]
) -> tuple[EngineEntry, dict[str, bytes]]:
    """What a bundle holds of an engine: its entry in the manifest, and member names with their bytes."""
    file, layers = _members(name, built.targets)
    files = {file: built.file, layers: None if built.layers is None else built.layers.encode()}
    entry = EngineEntry(
        engine=name,
        targets=built.targets,
        engine_version=built.engine_version,
        file=None if built.file is None else file,
        platform=built.platform,
        proof=proof,
        options=recorded_options(options),
    )
    return entry, {member: data for member, data in files.items() if data is not None}


def _members(name: str, targets: tuple[str, ...]) -> tuple[str, str]:
    stem = f"engines/{name}-{'-'.join(targets)}"
    return f"{stem}.engine", f"{stem}.layers.json"
