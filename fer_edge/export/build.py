"""A checkpoint to a bundle: export once, compile for each engine, write one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch

import fer_edge
from fer_edge._files import sha256
from fer_edge.bundle import MAX_BATCH, MODEL, EngineEntry, Manifest, write_bundle
from fer_edge.engines.available import get_engine
from fer_edge.engines.base import BuildRequest, Precision
from fer_edge.errors import ConfigError
from fer_edge.export.onnx_graph import onnx_from_checkpoint, operator_types
from fer_edge.model.checkpoint import load_checkpoint


def build_bundle(
    checkpoint_path: Path,
    out: Path,
    *,
    engines: Sequence[str] = ("openvino",),
    precision: Precision = "fp32",
    targets: Sequence[str] = (),
    max_batch: int = 32,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Manifest:
    """Build engines from a checkpoint and write them as a bundle.

    Args:
        checkpoint_path: A fer-edge checkpoint.
        out: The `.fer` file to write.
        engines: Engines by name; the first is the one a runtime takes by default.
        precision: Of the typed ONNX.
        targets: GPU targets; engines for CPUs take none.
        max_batch: Largest batch an engine must take.
        options: Engine -> its own build options.
        progress: Told what a long build does: phase, steps done, steps in all.

    Raises:
        FerEdgeError: A part cannot be built; nothing is written then.
    """
    if not 1 <= max_batch <= MAX_BATCH:
        raise ConfigError(f"max_batch is {max_batch}; expected 1 to {MAX_BATCH}")
    options = options or {}
    _check_options(options, engines)
    checkpoint = load_checkpoint(checkpoint_path)
    model = onnx_from_checkpoint(checkpoint, precision)
    members, entries = {MODEL: model}, []
    for name in engines:
        engine = get_engine(name)
        gpu = tuple(targets) if name.startswith("tensorrt") else ()
        built = engine.build(model, BuildRequest(precision, gpu, max_batch, options.get(name, {}), progress))
        file = None
        if built.file is not None:
            file = f"engines/{name}-{'-'.join(built.targets)}.engine"
            members[file] = built.file
        if built.layers is not None:
            members[f"engines/{name}-{'-'.join(built.targets)}.layers.json"] = built.layers.encode()
        entries.append(EngineEntry(name, built.targets, built.engine_version, file, built.platform))
    info = checkpoint.info
    manifest = Manifest(
        name=out.stem,
        labels=info.labels,
        decision=info.decision,
        precision=precision,
        max_batch=max_batch,
        engines=tuple(entries),
        words=info.words,
        templates=info.templates,
        text_source=info.text_source,
        operators=operator_types(model),
        checkpoint={
            "sha256": sha256(checkpoint_path.read_bytes()),
            "metrics": info.metrics,
            "provenance": info.provenance,
        },
        created_with={"fer_edge": fer_edge.__version__, "torch": torch.__version__, "onnx": onnx.__version__},
    )
    write_bundle(out, manifest, members)
    return manifest


def _check_options(options: Mapping[str, Mapping[str, Any]], engines: Sequence[str]) -> None:
    """Options are for engines that are built, and known to them."""
    for name, settings in options.items():
        if name not in engines:
            raise ConfigError(f"options for {name}, which is not built; engines are {', '.join(engines)}")
        get_engine(name).check_options(settings)
