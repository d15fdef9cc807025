"""Building of one more engine for a bundle, from the bundle's own model: needs neither torch nor the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, cast

import fer_edge
from fer_edge._files import as_path
from fer_edge.bundle import MODEL, Bundle, Manifest, write_bundle
from fer_edge.choices import Precision
from fer_edge.engines.base import BuildRequest, Engine, ExecutedOperator
from fer_edge.engines.registry import get_engine
from fer_edge.errors import BundleError, ConfigError
from fer_edge.export.build import BuildProgress, BuildResult, check_options, entry_and_files, member_names
from fer_edge.shipped import path_or_shipped


def add_engine(
    bundle: str | PathLike[str],
    out: str | PathLike[str],
    *,
    engine: str,
    gpu_archs: Sequence[str] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    allow_fallback: bool = False,
    progress: BuildProgress | None = None,
) -> BuildResult:
    """Build one more engine from a bundle's model, and write a bundle with this engine first.

    Needs no PyTorch. The precision of the engine is proven if onnx-ir is installed. Engines that other processes write
    into the bundle during the build are preserved.

    Args:
        bundle: Bundle (`.fer`), or "edge", the shipped one.
        out: Bundle to write (`.fer`); may be the same file.
        engine: Engine to build. An engine of this name in the bundle is replaced.
        gpu_archs: GPU architectures to build for, such as sm89; by default that of this machine's GPU.
        options: Build options by engine and name, as of `build`.
        allow_fallback: Whether to accept an engine that runs layers in another precision than the graph's; False by
            default.
        progress: Callback that receives the phase of the build, its finished steps and all of its steps.

    Raises:
        ConfigError: Options of another engine, unknown options, or an int8 graph of other types than the engine needs.
        BundleError: Bundle whose model another process replaced during the build; nothing is written.
        FerEdgeError: Engine that cannot be built; nothing is written.
    """
    check_options(options or {}, [engine])
    target = as_path(out, "the output")
    opened = Bundle.open(path_or_shipped("bundle", as_path(bundle, "the bundle")))
    model, values = opened.read(MODEL), (options or {}).get(engine, {})
    precision = cast(Precision, opened.manifest.precision)  # checked when the bundle was opened
    request = BuildRequest(precision, tuple(gpu_archs), opened.manifest.max_batch, values, progress)
    builder = get_engine(engine)
    _check_types(opened, builder)
    built = builder.build(model, request)
    proof = _prove(engine, model, built.operators, allow_fallback)
    opened = _reopen(opened)
    manifest = opened.manifest
    others = tuple(entry for entry in manifest.engines if entry.engine != engine)
    replaced = [entry for entry in manifest.engines if entry.engine == engine]
    removed = {member for entry in replaced for member in (entry.file, *member_names(engine, entry.targets))}
    members = {member: opened.read(member) for member in manifest.files if member not in removed}
    entry, files = entry_and_files(engine, built, values, proof)
    tools = {**manifest.created_with, f"fer_edge ({engine})": fer_edge.__version__}
    manifest = replace(manifest, engines=(entry, *others), created_with=tools)
    written, size = write_bundle(target, manifest, {**members, **files})
    return BuildResult(target, written, (engine,), size)


def _check_types(bundle: Bundle, engine: Engine) -> None:
    """Check that an engine accepts the types of a bundle's int8 graph.

    Raises:
        ConfigError: uint8 activations, and an engine that needs int8.
    """
    if "uint8" in bundle.manifest.operators.get("QuantizeLinear", {}) and not engine.unsigned_int8:
        raise ConfigError(
            f"{bundle.path} has uint8 activations, for engines on CPUs; {engine.name} needs int8: build a bundle for "
            f"it with fer-edge build-engine --precision int8 --engine {engine.name}"
        )


def _prove(engine: str, model: bytes, executed: tuple[ExecutedOperator, ...], allow_fallback: bool) -> dict[str, Any]:
    """Return the proof of an engine's precision; empty without onnx-ir, since devices often have only the runtime."""
    try:
        from fer_edge.graph.precision import checked_proof
        from fer_edge.graph.typed_graph import TypedGraph
    except ImportError:
        return {}
    return checked_proof(engine, TypedGraph.parse(model), executed, allow_fallback=allow_fallback)


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
