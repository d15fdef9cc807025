"""Export of a bundle's model for Triton Inference Server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from fer_edge._files import as_path, check_output
from fer_edge._require import require
from fer_edge._settings import convert_fields
from fer_edge.bundle import MODEL, Bundle, EngineEntry
from fer_edge.choices import InstanceKind
from fer_edge.engines.base import IMAGE_SIZE, INPUT_NAME, OUTPUT_NAMES
from fer_edge.engines.capabilities import TritonBackend, TritonSettings
from fer_edge.engines.registry import get_engine, names_with
from fer_edge.errors import BundleError, ConfigError, UnsupportedTargetError
from fer_edge.export.triton_repository import LABELS, ModelVersion, check_replaceable, write_version
from fer_edge.results import Result
from fer_edge.shipped import path_or_shipped

PREFERRED_BATCHES = (4, 8)  # of dynamic batching, besides the largest


@dataclass(frozen=True)
class TritonModel(Result):
    """Model in a Triton model repository."""

    model: Path  # folder with config.pbtxt, labels.txt and the versions
    engine: str
    engine_version: str
    targets: tuple[str, ...]  # devices that the model file was built for; empty for model.onnx
    max_batch: int
    server_options: tuple[str, ...]  # options that Triton has to be started with

    def notes(self) -> Sequence[str]:
        lines = [f"{self.model}: {self.engine}, batches of up to {self.max_batch}"]
        if self.targets:
            lines.append(
                f"run it with a Triton that has {self.engine} {self.engine_version}, on {', '.join(self.targets)}"
            )
        if self.server_options:
            lines.append(f"start Triton with {' '.join(self.server_options)}")
        return lines


class EnumValue(str):
    """Name of an enumerator, which protobuf's text format writes without quotes."""


@dataclass(frozen=True)
class Serving:
    """Settings of Triton for a model."""

    instances: Annotated[int, Meta(ge=1)] = 1  # copies per device that run in parallel
    instance_kind: InstanceKind | None = None  # None: the backend's default
    queue_delay: Annotated[int, Meta(ge=0)] = 500  # microseconds that a request waits for others to form a batch
    model_version: Annotated[int, Meta(ge=1)] = 1  # in the repository

    def __post_init__(self) -> None:
        convert_fields(self)


def export_triton(
    bundle: str | PathLike[str],
    out: str | PathLike[str],
    *,
    engine: str | None = None,
    model_name: str | None = None,
    instances: int = 1,
    instance_kind: InstanceKind | None = None,
    queue_delay: int = 500,
    model_version: int = 1,
    replace: bool = False,
) -> TritonModel:
    """Write a bundle's model into a Triton model repository.

    Args:
        bundle: Bundle (`.fer`), or "edge", the shipped one.
        out: Folder of the model repository.
        engine: Engine of the bundle; the first by default.
        model_name: Name of the model; the bundle's name by default.
        instances: Number of copies per device that run in parallel, 1 by default.
        instance_kind: "cpu" or "gpu"; the first that the backend supports by default.
        queue_delay: Microseconds that a request waits for others to form a batch, 500 by default.
        model_version: Version of the model in the repository, 1 by default.
        replace: Whether to replace a version that contains another model; False by default.

    Raises:
        BundleError: Engine that is not in the bundle, or one that was built with unknown options.
        ConfigError: Invalid name or number, or another model in the same place while `replace` is false.
        EngineUnavailableError: onnx is not installed.
        FerEdgeError: Folder that cannot be written; nothing was changed.
        UnsupportedTargetError: Engine or kind of instance without a Triton backend, or plan without weights.
    """
    serving = Serving(instances, instance_kind, queue_delay, model_version)
    path, repository = path_or_shipped("bundle", as_path(bundle, "the bundle")), as_path(out, "the repository")
    check_output(repository, path)
    require("onnx", "export", "exporting")
    opened = Bundle.open(path)
    name = opened.manifest.name if model_name is None else model_name
    if not name or name in (".", "..") or any(sign in name for sign in "/\\:\0"):
        raise ConfigError(f"the model's name is {name!r}; expected a plain folder name: name another")
    entry = opened.entry(engine)
    backend = _find_backend(entry, serving.instance_kind)
    settings = _engine_settings(opened, entry, backend)
    model = opened.read(entry.file or MODEL)
    folder = repository / name
    config = triton_config(opened, name, backend, _output_names(opened), serving, settings)
    labels = "".join(f"{label}\n" for label in opened.manifest.labels)
    new = ModelVersion(folder, serving.model_version, backend.file, model, labels, _text_format(config))
    check_replaceable(new, replace=replace)
    write_version(new)
    targets = entry.targets if entry.file is not None else ()
    return TritonModel(
        folder, entry.engine, entry.engine_version, targets, opened.manifest.max_batch, settings.server_options
    )


def _find_backend(entry: EngineEntry, kind: InstanceKind | None) -> TritonBackend:
    backend = get_engine(entry.engine).triton
    if backend is None:
        raise UnsupportedTargetError(
            f"Triton has no backend for {entry.engine}; choose an engine of the bundle among {names_with('triton')}"
        )
    if kind not in (None, *backend.kinds):
        only = backend.kinds[0]
        raise UnsupportedTargetError(
            f"Triton's {backend.name} backend runs on {only.upper()}s only; instance_kind is {kind}: "
            f"choose {only}, or another engine"
        )
    return backend


def _engine_settings(bundle: Bundle, entry: EngineEntry, backend: TritonBackend) -> TritonSettings:
    """Return the settings that depend on how the engine was built."""
    rebuild = f"fer-edge bundle add-engine {bundle.path} --engine {entry.engine} --out {bundle.path}"
    try:
        return backend.settings(entry.engine_version, entry.options, bundle.manifest.max_batch, rebuild)
    except ConfigError as error:
        raise BundleError(
            f"{bundle.path}: unknown build options of its {entry.engine} engine: {error}; update fer-edge, or build "
            f"the engine again with: {rebuild}"
        ) from error
    except UnsupportedTargetError as error:
        raise UnsupportedTargetError(f"{bundle.path}: {error}") from error


def triton_config(
    bundle: Bundle,
    name: str,
    backend: TritonBackend,
    outputs: tuple[str, ...],
    serving: Serving,
    settings: TritonSettings,
) -> dict[str, Any]:
    """Return the fields of Triton's `ModelConfig` message.

    Args:
        bundle: Bundle to serve.
        name: Name of the model.
        backend: Triton backend of the engine.
        outputs: Names of the graph's outputs.
        serving: Instances, queue and version.
        settings: Settings that depend on how the engine was built.
    """
    max_batch, classes = bundle.manifest.max_batch, len(bundle.manifest.labels)
    config: dict[str, Any] = {
        "name": name,
        "backend": backend.name,
        "default_model_filename": backend.file,
        "max_batch_size": max_batch,
        "input": [
            {
                "name": INPUT_NAME,
                "data_type": EnumValue("TYPE_UINT8"),
                "format": EnumValue("FORMAT_NHWC"),
                "dims": [IMAGE_SIZE, IMAGE_SIZE, 3],
            }
        ],
        "output": [
            {
                "name": output,
                "data_type": EnumValue("TYPE_FP32"),
                "dims": [classes],
                **({"label_filename": LABELS} if output == "probabilities" else {}),
            }
            for output in outputs
        ],
        "instance_group": [_instance_group(backend, serving, settings.profiles)],
        "model_warmup": [_warm_up(batch) for batch in sorted({1, max_batch})],
    }
    if max_batch > 1:
        config["dynamic_batching"] = {
            "preferred_batch_size": sorted({min(max_batch, size) for size in (*PREFERRED_BATCHES, max_batch)}),
            "max_queue_delay_microseconds": serving.queue_delay,
        }
    if settings.graph_batches:
        sizes = [{"batch_size": size} for size in settings.graph_batches]
        config["optimization"] = {"cuda": {"graphs": True, "graph_spec": sizes}}
    if settings.parameters:
        config["parameters"] = [
            {"key": key, "value": {"string_value": value}} for key, value in settings.parameters.items()
        ]
    return config


def _instance_group(backend: TritonBackend, serving: Serving, profiles: int) -> dict[str, Any]:
    kind = serving.instance_kind or backend.kinds[0]
    group: dict[str, Any] = {"count": serving.instances, "kind": EnumValue(f"KIND_{kind.upper()}")}
    if profiles > 1:  # by default Triton uses only the first profile, which may be the one for single images
        group["profile"] = [str(index) for index in range(profiles)]
    return group


def _warm_up(batch: int) -> dict[str, Any]:
    """Return a request that Triton runs at start, so that kernels are loaded and CUDA graphs captured."""
    images = {"data_type": EnumValue("TYPE_UINT8"), "dims": [IMAGE_SIZE, IMAGE_SIZE, 3], "random_data": True}
    return {"name": f"batch of {batch}", "batch_size": batch, "inputs": {"key": INPUT_NAME, "value": images}}


def _output_names(bundle: Bundle) -> tuple[str, ...]:
    import onnx

    graph = onnx.load_from_string(bundle.read(MODEL)).graph
    present = {output.name for output in graph.output}
    return tuple(name for name in OUTPUT_NAMES if name in present)


def _text_format(fields: Mapping[str, Any], indent: str = "") -> str:
    """Format nested fields in protobuf's text format."""
    lines = []
    for name, value in fields.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Mapping):
                lines.append(f"{indent}{name} {{\n{_text_format(item, indent + '  ')}{indent}}}\n")
            else:
                lines.append(f"{indent}{name}: {_literal(item)}\n")
    return "".join(lines)


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and not isinstance(value, EnumValue):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    return str(value)
