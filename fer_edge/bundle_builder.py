"""Addition of an engine to a bundle, built from its own `model.onnx`: needs neither torch nor the checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import fer_edge
from fer_edge.bundle import MODEL, Bundle, EngineEntry, Manifest, write_bundle
from fer_edge.choices import Precision
from fer_edge.engines.base import BuildRequest, BuiltEngine, ExecutedOperator
from fer_edge.engines.registry import get_engine
from fer_edge.errors import BundleError

Prove = Callable[[str, bytes, tuple[ExecutedOperator, ...]], dict[str, Any]]


def insert_engine(
    bundle: Bundle,
    out: Path,
    engine_name: str,
    *,
    targets: tuple[str, ...] = (),
    options: Mapping[str, Any] | None = None,
    prove: Prove | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Manifest:
    """Build an engine from a bundle's model, and write a bundle with this engine first.

    Engines that other processes write into the bundle during the build are preserved.

    Args:
        bundle: Bundle with the model, its precision and its largest batch.
        out: Bundle to write (`.fer`); may be the file of `bundle`.
        engine_name: Engine to build. An engine of this name in the bundle is replaced.
        targets: GPU architectures; empty: the engine's default.
        options: Build options of the engine.
        prove: Function that compares the operators that the engine executes with the model, and returns the proof to
            store. Without it the bundle has no proof for this engine.
        progress: Callback that receives the phase of the build, its finished steps and all of its steps.

    Returns:
        The manifest of the written bundle.

    Raises:
        BundleError: Bundle whose model another process replaced during the build; nothing is written.
        FerEdgeError: Engine that cannot be built; nothing is written.
    """
    engine = get_engine(engine_name)
    options = options or {}
    engine.check_options(options)
    model = bundle.read(MODEL)
    precision = cast(Precision, bundle.manifest.precision)  # checked when the bundle was opened
    request = BuildRequest(precision, targets, bundle.manifest.max_batch, options, progress)
    built = engine.build(model, request)
    proof = {} if prove is None else prove(engine_name, model, built.operators)
    bundle = _reopen(bundle)
    manifest = bundle.manifest
    others = tuple(entry for entry in manifest.engines if entry.engine != engine_name)
    replaced = [entry for entry in manifest.engines if entry.engine == engine_name]
    removed = {member for entry in replaced for member in (entry.file, *_member_names(engine_name, entry.targets))}
    members = {member: bundle.read(member) for member in manifest.files if member not in removed}
    entry, files = entry_and_files(engine_name, built, options, proof)
    members.update(files)
    tools = {**manifest.created_with, f"fer_edge ({engine_name})": fer_edge.__version__}
    write_bundle(out, replace(manifest, engines=(entry, *others), created_with=tools), members)
    return Bundle.open(out).manifest


def _reopen(bundle: Bundle) -> Bundle:
    """Open the bundle's file again, since other processes may have written into it during the build.

    Raises:
        BundleError: Bundle that cannot be read any more, or has another model than the engine was built from.
    """
    current = Bundle.open(bundle.path)

    def model_of(manifest: Manifest) -> tuple[object, ...]:
        return manifest.files[MODEL], manifest.precision, manifest.max_batch

    if model_of(current.manifest) != model_of(bundle.manifest):
        raise BundleError(
            f"the model, precision or largest batch of {bundle.path} changed while the engine was built; nothing was "
            "written: run it again"
        )
    return current


def entry_and_files(
    engine_name: str, built: BuiltEngine, options: Mapping[str, Any], proof: dict[str, Any]
) -> tuple[EngineEntry, dict[str, bytes]]:
    """Return an engine's entry in the manifest, and its files by member name.

    Args:
        engine_name: Name of the engine.
        built: The built engine.
        options: Build options of the engine; those of the local machine are not recorded.
        proof: Proof of its precision.
    """
    file, layers = _member_names(engine_name, built.targets)
    files = {file: built.file, layers: None if built.layers is None else built.layers.encode()}
    entry = EngineEntry(
        engine=engine_name,
        targets=built.targets,
        engine_version=built.engine_version,
        file=None if built.file is None else file,
        platform=built.platform,
        proof=proof,
        options={
            name: list(value) if isinstance(value, tuple) else value
            for name, value in options.items()
            if name not in get_engine(engine_name).local_options
        },
    )
    return entry, {member: data for member, data in files.items() if data is not None}


def _member_names(engine_name: str, targets: tuple[str, ...]) -> tuple[str, str]:
    """Return the member names of the engine file and of its layer information."""
    stem = f"engines/{engine_name}-{'-'.join(targets)}"
    return f"{stem}.engine", f"{stem}.layers.json"
