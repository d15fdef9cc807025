"""Addition of an engine to a bundle, with a proof of its precision if onnx is installed; needs no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from os import PathLike
from typing import Any

from fer_edge._files import as_path
from fer_edge.bundle import Bundle
from fer_edge.bundle_builder import Prove, insert_engine
from fer_edge.export.build import BuildProgress, BuildResult, check_options
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
        ConfigError: Options of another engine, or unknown options.
        BundleError: Bundle whose model another process replaced during the build; nothing is written.
        FerEdgeError: Engine that cannot be built; nothing is written.
    """
    options = options or {}
    check_options(options, [engine])
    target = as_path(out, "the output")
    opened = Bundle.open(path_or_shipped("bundle", as_path(bundle, "the bundle")))
    prove = _find_prover(allow_fallback)
    manifest = insert_engine(
        opened,
        target,
        engine,
        targets=tuple(gpu_archs),
        options=options.get(engine, {}),
        prove=prove,
        progress=progress,
    )
    return BuildResult(target, manifest, (engine,), target.stat().st_size)


def _find_prover(allow_fallback: bool) -> Prove | None:
    """Return the proof of precision, or None without onnx: devices often have only the runtime."""
    try:
        from fer_edge.export.precision import checked_proof
    except ImportError:
        return None
    return partial(checked_proof, allow_fallback=allow_fallback)
