"""A checkpoint to a bundle: export once, compile for each engine, prove what it runs, write one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch

import fer_edge
from fer_edge._files import file_sha256
from fer_edge._text import did_you_mean
from fer_edge.bundle import CALIBRATION, MAX_BATCH, MODEL, EngineEntry, Manifest, write_bundle
from fer_edge.bundle_builder import entry_and_files
from fer_edge.calibration.qdq import quantize_graph
from fer_edge.calibration.ranges import Ranges, read_ranges
from fer_edge.engines.base import BuildRequest, Engine, Precision
from fer_edge.engines.registry import ENGINE_MODULES, get_engine
from fer_edge.errors import CheckpointError, ConfigError
from fer_edge.export.finite import check_graph, check_reference
from fer_edge.export.fp16 import check_half
from fer_edge.export.onnx_graph import onnx_from_checkpoint, operator_types
from fer_edge.export.precision import proven
from fer_edge.export.prelu import split_prelus
from fer_edge.model.checkpoint import Checkpoint, load_checkpoint

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")  # that a graph can be asked for
FLOAT_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")  # what an int8 graph may leave the rest in


def build_bundle(
    checkpoint_path: Path,
    out: Path,
    *,
    engines: Sequence[str] = ("openvino",),
    precision: Precision = "fp32",
    targets: Sequence[str] = (),
    max_batch: int = 32,
    ranges: Path | None = None,
    float_precision: Precision | None = None,
    allow_fallback: bool = False,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Manifest:
    """Build engines from a checkpoint and write them as a bundle.

    Args:
        checkpoint_path: A fer-edge checkpoint.
        out: The `.fer` file to write.
        engines: Engines by name; the first is the one a runtime takes by default.
        precision: Of the typed ONNX; int8 comes out as mixed where the ranges keep layers in float.
        targets: GPU targets; engines for CPUs take none.
        max_batch: Largest batch an engine must take.
        ranges: Activation ranges of the checkpoint, as `fer-edge calibrate` writes them; fp16 and int8 need them.
        float_precision: Precision of what is not int8 in an int8 graph; fp32 by default.
        allow_fallback: Take engines that run layers in another precision than the graph says.
        options: Engine -> its own build options.
        progress: Told what a long build does: phase, steps done, steps in all.

    Raises:
        ConfigError: An argument cannot be right, or would have no effect.
        NonFiniteError: The model's outputs are NaN or infinite.
        FerEdgeError: A part cannot be built. Nothing is written when anything is raised.
    """
    _check_precision(precision, ranges, float_precision)
    if not 1 <= max_batch <= MAX_BATCH:
        raise ConfigError(f"max_batch is {max_batch}; expected 1 to {MAX_BATCH}")
    chosen, options = _engines(engines, targets), options or {}
    _check_options(options, engines)
    checkpoint, digest = load_checkpoint(checkpoint_path), file_sha256(checkpoint_path)
    found = None if ranges is None else _ranges_of(ranges, digest)
    check_reference(checkpoint)
    model = typed_graph(checkpoint, precision, found, float_precision or "fp32")
    check_graph(model)
    precision = "mixed" if precision == "int8" and found is not None and found.kept else precision
    entries, members = [], {MODEL: model}
    if found is not None:
        members[CALIBRATION] = found.to_json().encode()
    for engine in chosen:
        settings = options.get(engine.name, {})
        request = BuildRequest(precision, tuple(targets) if engine.for_gpus else (), max_batch, settings, progress)
        entry, files = _build(engine, model, request, allow_fallback)
        entries.append(entry)
        members.update(files)
    info = checkpoint.info
    manifest = Manifest(
        name=out.stem,
        labels=info.labels,
        head=info.head,
        precision=precision,
        max_batch=max_batch,
        engines=tuple(entries),
        words=info.words,
        templates=info.templates,
        text_source=info.text_source,
        operators=operator_types(model),
        checkpoint={"sha256": digest, "metrics": info.metrics, "provenance": info.provenance},
        created_with={"fer_edge": fer_edge.__version__, "torch": torch.__version__, "onnx": onnx.__version__},
    )
    write_bundle(out, manifest, members)
    return manifest


def _build(
    engine: Engine, model: bytes, request: BuildRequest, allow_fallback: bool
) -> tuple[EngineEntry, dict[str, bytes]]:
    """Build one engine and prove its precision: its entry in the manifest, and its files."""
    built = engine.build(model, request)
    proof = proven(engine.name, model, built.operators, allow_fallback=allow_fallback)
    return entry_and_files(engine.name, built, request.options, proof)


def _check_precision(precision: str, ranges: Path | None, float_precision: str | None) -> None:
    """Refuse a precision that does not exist, and arguments that would have no effect with it."""
    if precision not in PRECISIONS:
        hint = did_you_mean(precision, PRECISIONS)
        raise ConfigError(f"precision is {precision!r}; expected fp32, fp16 or int8{hint}")
    if float_precision is not None and float_precision not in FLOAT_PRECISIONS:
        raise ConfigError(
            f"float_precision is {float_precision!r}; expected one of: {', '.join(FLOAT_PRECISIONS)}"
            f"{did_you_mean(float_precision, FLOAT_PRECISIONS)}"
        )
    if float_precision is not None and precision != "int8":
        raise ConfigError(
            f"float_precision is for int8 alone, and the precision is {precision}; leave it out, or choose int8"
        )
    if ranges is not None and precision == "fp32":
        raise ConfigError(
            "ranges are for int8 and fp16, and the precision is fp32: leave them out, or ask for int8 with "
            "--precision int8"
        )


def _engines(names: Sequence[str], targets: Sequence[str]) -> list[Engine]:
    """Engines to build: at least one, each once, and one at least for the targets."""
    if not names:
        raise ConfigError(f"no engine to build; expected some of: {', '.join(ENGINE_MODULES)}")
    twice = [name for index, name in enumerate(names) if name in names[:index]]
    if twice:
        raise ConfigError(f"engine {twice[0]} is named twice; a bundle holds one of each: name it once")
    engines = [get_engine(name) for name in names]
    if set(targets) - {"cpu"} and not any(engine.for_gpus for engine in engines):
        raise ConfigError(
            f"targets {', '.join(targets)} are GPUs, and {', '.join(names)} builds for CPUs alone: "
            "leave the targets out, or build an engine for GPUs too, such as tensorrt-rtx"
        )
    return engines


def _check_options(options: Mapping[str, Mapping[str, Any]], engines: Sequence[str]) -> None:
    """Options are for engines that are built, and known to them."""
    for name, settings in options.items():
        if name not in engines:
            raise ConfigError(f"options for {name}, which is not built; engines are {', '.join(engines)}")
        get_engine(name).check_options(settings)


def typed_graph(
    checkpoint: Checkpoint, precision: Precision, ranges: Ranges | None = None, float_precision: Precision = "fp32"
) -> bytes:
    """The typed ONNX of a checkpoint in any precision; equal checkpoints and ranges give equal bytes.

    Raises:
        ConfigError: The precision is not known, or ranges are missing.
        EngineError: Half precision would overflow, or PyTorch could not export the model.
    """
    _check_precision(precision, None, None if float_precision == "fp32" else float_precision)
    if precision == "fp32":
        return split_prelus(onnx_from_checkpoint(checkpoint, "fp32"))
    if ranges is None:
        raise ConfigError(
            f"{precision} needs activation ranges, seen on real images; make them with: fer-edge calibrate, "
            "and name the file with --ranges"
        )
    model = onnx_from_checkpoint(checkpoint, "fp16" if "fp16" in (precision, float_precision) else "fp32")
    if "fp16" in (precision, float_precision):
        check_half(model, ranges)
    return model if precision == "fp16" else quantize_graph(model, ranges)


def _ranges_of(path: Path, checkpoint: str) -> Ranges:
    found = read_ranges(path)
    if found.checkpoint != checkpoint:
        raise CheckpointError(
            f"{path} was made of another checkpoint (SHA-256 {found.checkpoint[:12]}, this one is {checkpoint[:12]}); "
            "make ranges of this one with: fer-edge calibrate"
        )
    return found
