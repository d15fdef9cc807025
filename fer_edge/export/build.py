"""Building of a bundle from a checkpoint.

Imports PyTorch and onnx only inside functions: wrong arguments are refused before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import fer_edge
from fer_edge._files import SHOWN_HASH, as_path, check_output, file_sha256
from fer_edge._require import require
from fer_edge._text import did_you_mean
from fer_edge.bundle import CALIBRATION, MAX_BATCH, MODEL, EngineEntry, Manifest, write_bundle
from fer_edge.choices import DEFAULT_ENGINE, BuildPrecision, FloatPrecision, Precision
from fer_edge.engines.base import BuildRequest, BuiltEngine, Engine
from fer_edge.engines.registry import engine_names, get_engine, names_with
from fer_edge.errors import CheckpointError, ConfigError, shown
from fer_edge.export.provenance import provenance_of
from fer_edge.manifest import RecipeRecord
from fer_edge.results import Result, Table
from fer_edge.shipped import path_or_shipped

if TYPE_CHECKING:
    from fer_edge.graph.ranges import Ranges
    from fer_edge.graph.typed_graph import TypedGraph
    from fer_edge.model.checkpoint import Checkpoint

GRAPH_PACKAGES = ("onnx", "onnx_ir", "onnxscript")  # determine the bytes of a graph, beside PyTorch
BuildProgress = Callable[[str, int, int], None]  # receives phase, finished steps, all steps


@dataclass(frozen=True)
class BuildResult(Result):
    """Bundle that was written."""

    bundle: Path
    manifest: Manifest
    built: tuple[str, ...]  # engines of the bundle that were built now
    size: int  # bytes of the file

    @property
    def entries(self) -> tuple[EngineEntry, ...]:
        """Manifest entries of the engines that were built now."""
        return tuple(entry for entry in self.manifest.engines if entry.engine in self.built)

    def tables(self) -> Sequence[Table]:
        # Operators that do not multiply, such as the conversion of the uint8 input, are only in the JSON form.
        rows = tuple(
            (entry.engine, precision, entry.proof["operators"].get(precision, 0), f"{100 * share:.1f}")
            for entry in self.entries
            if entry.proof
            for precision, share in sorted(entry.proof["macs"].items())
            if share
        )
        columns = ("engine", "precision", "operators", "multiply-accumulates %")
        return (Table("multiply-accumulates by executed precision", columns, rows),) if rows else ()

    def notes(self) -> Sequence[str]:
        engines = ", ".join(
            f"{entry.engine} {entry.engine_version} ({', '.join(entry.targets)})" for entry in self.entries
        )
        lines = [f"{self.bundle}: {self.manifest.precision}, {engines}, {self.size / 1e6:.1f} MB"]
        return [*lines, *(line for entry in self.entries for line in _proof_notes(entry))]


def build(
    checkpoint: str | PathLike[str],
    out: str | PathLike[str],
    *,
    engines: Sequence[str] = (DEFAULT_ENGINE,),
    precision: BuildPrecision = "fp32",
    gpu_archs: Sequence[str] = (),
    max_batch: int = 32,
    ranges: str | PathLike[str] | None = None,
    float_precision: FloatPrecision | None = None,
    allow_fallback: bool = False,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    name: str | None = None,
    recipe: RecipeRecord | None = None,
    progress: BuildProgress | None = None,
) -> BuildResult:
    """Build engines from a checkpoint and write them as a bundle.

    Equal checkpoints, arguments and versions of the packages give equal bytes, whatever the names of the files are,
    except with engines whose files vary (`Engine.variation`).

    Args:
        checkpoint: Checkpoint (`.safetensors`), or "edge", the shipped one.
        out: Bundle to write (`.fer`).
        engines: Engines to build; a runtime uses the first by default. OpenVINO by default.
        precision: Precision of the layers, fp32 by default. An int8 bundle with float layers becomes `mixed`.
        gpu_archs: GPU architectures to build for, such as sm89; engines for CPUs ignore them. By default that of this
            machine's GPU.
        max_batch: Largest batch that the engines accept, 32 by default.
        ranges: Activation ranges of the checkpoint, from `calibrate`, or "edge", the shipped ones; required for fp16
            and int8.
        float_precision: Precision of the layers that are not int8 in an int8 bundle; fp32 by default.
        allow_fallback: Whether to accept engines that run layers in another precision than the graph's; False by
            default.
        options: Build options of each engine, by engine and name.
        name: Name of the model in the bundle; by default that of its preset, "edge".
        recipe: Record of the build recipe that the arguments are from, as `build_arguments` returns it; it is written
            into the manifest and changes no argument. None without a recipe.
        progress: Callback that receives the phase of an engine's build, its finished steps and all of its steps.

    Raises:
        ConfigError: Invalid argument, or one without effect.
        EngineUnavailableError: PyTorch or an engine is not installed.
        NonFiniteError: NaN or infinity in the model's outputs.
        FerEdgeError: Part that cannot be built. Nothing is written on any error.
    """
    _check_precision(precision, ranges is not None, float_precision)
    _check_name(name)
    if type(max_batch) is not int or not 1 <= max_batch <= MAX_BATCH:
        raise ConfigError(f"max_batch is {max_batch!r}; expected a whole number from 1 to {MAX_BATCH}")
    chosen, options = _select_engines(engines, gpu_archs), options or {}
    check_options(options, engines)
    source = path_or_shipped("checkpoint", as_path(checkpoint, "the checkpoint"))
    ranges_file = None if ranges is None else path_or_shipped("ranges", as_path(ranges, "the ranges"))
    target = as_path(out, "the output")
    check_output(target, source, ranges_file)
    for package in ("torch", "safetensors", "onnx", "onnx_ir", "onnxscript"):
        require(package, "export", "building")
    from fer_edge.graph.finite import check_graph, check_runner
    from fer_edge.model.checkpoint import load_checkpoint
    from fer_edge.model.runner import PyTorchRunner

    loaded, digest = load_checkpoint(source), file_sha256(source)
    activation_ranges = None if ranges_file is None else _read_ranges_of(ranges_file, digest)
    check_runner("the model", PyTorchRunner(loaded))
    unsigned = all(engine.unsigned_int8 for engine in chosen)
    graph = typed_graph(loaded, precision, activation_ranges, float_precision or "fp32", unsigned=unsigned)
    check_graph(graph)
    members = {MODEL: graph.to_bytes()}
    actual: Precision = precision
    if activation_ranges is not None:
        members[CALIBRATION] = activation_ranges.to_json().encode()
        if precision == "int8" and activation_ranges.float_layers:
            actual = "mixed"
    entries = []
    for engine in chosen:
        archs = tuple(gpu_archs) if engine.for_gpus else ()
        request = BuildRequest(actual, archs, max_batch, options.get(engine.name, {}), progress)
        entry, files = _build_engine(engine, graph, request, allow_fallback)
        entries.append(entry)
        members.update(files)
    manifest = replace(
        _manifest(name, loaded, digest, graph, actual, max_batch, tuple(entries)),
        provenance=provenance_of(activation_ranges, recipe),
    )
    written, size = write_bundle(target, manifest, members)
    return BuildResult(target, written, tuple(engines), size)


def typed_graph(
    checkpoint: Checkpoint,
    precision: BuildPrecision,
    ranges: Ranges | None = None,
    float_precision: FloatPrecision = "fp32",
    *,
    unsigned: bool = False,
) -> TypedGraph:
    """Export the typed graph of a checkpoint; equal checkpoints and ranges give equal graphs.

    Args:
        checkpoint: The checkpoint.
        precision: Precision of the layers.
        ranges: Activation ranges of the checkpoint; required for fp16 and int8.
        float_precision: Precision of the layers that are not int8 in an int8 graph, fp32 by default.
        unsigned: Whether an int8 graph has uint8 activations behind ReLU and ReLU6, which the engines for CPUs accept;
            False by default.

    Raises:
        ConfigError: Unknown precision, or missing ranges.
        EngineError: Overflow of float16, or model that PyTorch cannot export.
    """
    from fer_edge.export.onnx_graph import onnx_from_checkpoint
    from fer_edge.graph.half import check_half
    from fer_edge.graph.prelu_forms import split_prelus
    from fer_edge.graph.qdq import quantize_graph

    _check_precision(precision, False, None if float_precision == "fp32" else float_precision)
    if precision == "fp32":
        return split_prelus(onnx_from_checkpoint(checkpoint, "fp32"))
    if ranges is None:
        raise ConfigError(
            f"{precision} needs activation ranges, measured on real images; measure them with: fer-edge calibrate, "
            "and name the file with --ranges"
        )
    half = "fp16" in (precision, float_precision)
    graph = onnx_from_checkpoint(checkpoint, "fp16" if half else "fp32")
    if half:
        check_half(graph, ranges)
    return graph if precision == "fp16" else quantize_graph(graph, ranges, unsigned=unsigned)


def _proof_notes(entry: EngineEntry) -> list[str]:
    """Describe the part of an engine's precision that is unknown, unverified or another than the graph's."""
    if not entry.proof:
        return [
            f"{entry.engine}: the executed precision was not compared with the model, which needs onnx-ir; run: "
            "pip install onnx-ir"
        ]
    lines = []
    if entry.proof["unverified"]:
        lines.append(
            f"{entry.engine}: the precision of {100 * entry.proof['unverified']:.0f} % of the multiply-accumulates is "
            "taken from the network's declared types: the engine can be inspected only on its target GPU"
        )
    if entry.proof["fallbacks"]:
        count = len(entry.proof["fallbacks"])
        lines.append(f"{entry.engine} runs {count} layers in another precision than the graph's")
    return lines


def _build_engine(
    engine: Engine, graph: TypedGraph, request: BuildRequest, allow_fallback: bool
) -> tuple[EngineEntry, dict[str, bytes]]:
    """Build one engine and prove its precision; return its entry in the manifest, and its files."""
    from fer_edge.graph.precision import checked_proof

    built = engine.build(graph.to_bytes(), request)
    proof = checked_proof(engine.name, graph, built.operators, allow_fallback=allow_fallback)
    return entry_and_files(engine.name, built, request.options, proof)


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
    file, layers = member_names(engine_name, built.targets)
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


def member_names(engine_name: str, targets: tuple[str, ...]) -> tuple[str, str]:
    """Return the member names of the engine file and of its layer information."""
    stem = f"engines/{engine_name}-{'-'.join(targets)}"
    return f"{stem}.engine", f"{stem}.layers.json"


def _manifest(
    name: str | None,
    checkpoint: Checkpoint,
    digest: str,
    graph: TypedGraph,
    precision: Precision,
    max_batch: int,
    entries: tuple[EngineEntry, ...],
) -> Manifest:
    from importlib.metadata import version

    import torch

    from fer_edge.model.config import model_name

    info = checkpoint.info
    return Manifest(
        name=model_name(info.config) if name is None else name,
        labels=info.labels,
        head=info.head,
        precision=precision,
        max_batch=max_batch,
        engines=entries,
        words=info.words,
        templates=info.templates,
        text_source=info.text_source,
        operators=graph.operator_types(),
        checkpoint={"sha256": digest, "metrics": info.metrics, "provenance": info.provenance},
        created_with={
            "fer_edge": fer_edge.__version__,
            "torch": torch.__version__,
            **{package: version(package) for package in GRAPH_PACKAGES},
        },
    )


def _check_name(name: str | None) -> None:
    """Refuse a name that a manifest could not contain."""
    if name is not None and not (isinstance(name, str) and name.strip() and name.isprintable()):
        raise ConfigError(f"name is {shown(name)}; expected printable text that is not empty")


def _check_precision(precision: str, has_ranges: bool, float_precision: str | None) -> None:
    """Refuse an unknown precision, and arguments that would have no effect with it."""
    for name, value, kind in (
        ("precision", precision, BuildPrecision),
        ("float_precision", float_precision, FloatPrecision),
    ):
        choices = get_args(kind)
        if value is not None and value not in choices:
            hint = did_you_mean(str(value), choices)
            raise ConfigError(f"{name} is {value!r}; expected one of: {', '.join(choices)}{hint}")
    if float_precision is not None and precision != "int8":
        raise ConfigError(
            f"float_precision has no effect: it is for int8, and the precision is {precision}; leave it out, or "
            "choose int8"
        )
    if has_ranges and precision == "fp32":
        raise ConfigError(
            "ranges have no effect: they are for int8 and fp16, and the precision is fp32; leave them out, or choose "
            "--precision int8"
        )


def _select_engines(names: Sequence[str], gpu_archs: Sequence[str]) -> list[Engine]:
    """Return the engines to build: at least one, each once, and one for GPUs if there are GPU architectures."""
    if not names:
        raise ConfigError(f"no engine to build; expected some of: {', '.join(engine_names())}")
    duplicates = [name for index, name in enumerate(names) if name in names[:index]]
    if duplicates:
        raise ConfigError(f"engine {duplicates[0]} is named twice; name every engine once")
    engines = [get_engine(name) for name in names]
    if set(gpu_archs) - {"cpu"} and not any(engine.for_gpus for engine in engines):
        raise ConfigError(
            f"gpu_archs {', '.join(gpu_archs)} have no effect: {', '.join(names)} builds for CPUs; "
            f"leave them out, or build an engine for GPUs too: {names_with('for_gpus')}"
        )
    return engines


def check_options(options: Mapping[str, Mapping[str, Any]], engines: Sequence[str]) -> None:
    """Refuse options of engines that are not built, and options that an engine does not have."""
    for name, values in options.items():
        if name not in engines:
            raise ConfigError(f"options for {name}, which is not built; engines are {', '.join(engines)}")
        get_engine(name).check_options(values)


def _read_ranges_of(path: Path, checkpoint: str) -> Ranges:
    """Read ranges, and check that they were measured on the checkpoint with this SHA-256."""
    from fer_edge.graph.ranges import read_ranges

    ranges = read_ranges(path)
    if ranges.checkpoint != checkpoint:
        raise CheckpointError(
            f"{path} has the ranges of another checkpoint (SHA-256 {ranges.checkpoint[:SHOWN_HASH]}, this one has "
            f"{checkpoint[:SHOWN_HASH]}); measure those of this one with: fer-edge calibrate"
        )
    return ranges
