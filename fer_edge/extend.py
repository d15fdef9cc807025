"""One more engine for a bundle, built from its own `model.onnx`: needs neither torch nor the checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import fer_edge
from fer_edge.bundle import MODEL, Bundle, EngineEntry, Manifest, write_bundle
from fer_edge.engines.available import get_engine
from fer_edge.engines.base import BuildRequest, Precision


def add_engine(
    bundle: Bundle,
    out: Path,
    name: str,
    *,
    targets: tuple[str, ...] = (),
    options: Mapping[str, Any] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Manifest:
    """Build an engine from a bundle's model and write a bundle that has it first.

    Args:
        bundle: Where the model, its precision and its largest batch come from.
        out: The `.fer` file to write; may be the bundle's own.
        name: The engine. One of that name in the bundle is replaced.
        targets: GPU targets.
        options: The engine's own build options.
        progress: Told what a long build does: phase, steps done, steps in all.

    Raises:
        FerEdgeError: The engine cannot be built; nothing is written then.
    """
    manifest, engine = bundle.manifest, get_engine(name)
    engine.check_options(options or {})
    model = bundle.read(MODEL)
    precision = cast(Precision, manifest.precision)  # one that this version knows, or the bundle had not been opened
    built = engine.build(model, BuildRequest(precision, targets, manifest.max_batch, options or {}, progress))
    kept = tuple(entry for entry in manifest.engines if entry.engine != name)
    gone = {f"{entry.file}" for entry in manifest.engines if entry.engine == name}
    gone |= {_layers(file) for file in gone}
    members = {member: bundle.read(member) for member in manifest.files if member not in gone}
    file = None
    if built.file is not None:
        file = f"engines/{name}-{'-'.join(built.targets)}.engine"
        members[file] = built.file
        if built.layers is not None:
            members[_layers(file)] = built.layers.encode()
    entry = EngineEntry(name, built.targets, built.engine_version, file, built.platform)
    tools = {**manifest.created_with, f"fer_edge ({name})": fer_edge.__version__}
    write_bundle(out, replace(manifest, engines=(entry, *kept), created_with=tools), members)
    return Bundle.open(out).manifest


def _layers(file: str) -> str:
    return f"{file.removesuffix('.engine')}.layers.json"
