"""A bundle's model for Triton Inference Server: from one machine to many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import onnx
from msgspec import Meta

from fer_edge._settings import convert_fields
from fer_edge.bundle import MODEL, Bundle, EngineEntry
from fer_edge.engines.base import IMAGE_SIZE, INPUT_NAME, OUTPUT_NAMES
from fer_edge.engines.tensorrt.options import options_from_settings
from fer_edge.engines.tensorrt.runner import GRAPH_BATCHES
from fer_edge.errors import BundleError, ConfigError, UnsupportedTargetError
from fer_edge.export.triton_repository import LABELS, ModelVersion, check_replaceable, write_version

VERSION_COMPATIBLE = "--backend-config=tensorrt,version-compatible=true"

Kind = Literal["cpu", "gpu"]


@dataclass(frozen=True)
class Backend:
    """What of Triton's runs an engine's models."""

    name: str
    file: str  # what we call the model file; OpenVINO's backend would look for model.xml
    kinds: tuple[Kind, ...]  # where it has instances; the first is the default


BACKENDS = {
    "tensorrt": Backend("tensorrt", "model.plan", ("gpu",)),
    "onnxruntime": Backend("onnxruntime", "model.onnx", ("cpu", "gpu")),
    "openvino": Backend("openvino", "model.onnx", ("cpu",)),
}


class Word(str):
    """An enumerator, which stands without quotes."""


@dataclass(frozen=True)
class Serving:
    """How Triton serves a model."""

    instances: Annotated[int, Meta(ge=1)] = 1  # copies on each device that work side by side
    kind: Kind | None = None  # where; None: the first that the backend has
    queue_delay_us: Annotated[int, Meta(ge=0)] = 500  # wait of a request for others to share its batch, in microseconds
    version: Annotated[int, Meta(ge=1)] = 1  # of the model in the repository

    def __post_init__(self) -> None:
        """Refuse what Triton would.

        Raises:
            ConfigError: A number is out of range.
        """
        convert_fields(self)


def export_triton(
    bundle: Bundle,
    repository: Path,
    *,
    engine: str | None = None,
    name: str | None = None,
    serving: Serving | None = None,
    replace: bool = False,
) -> Path:
    """Write one model of a Triton model repository.

    Args:
        bundle: What to serve.
        repository: Folder that Triton is started with.
        engine: One of the bundle's engines; its first if not given.
        name: Of the model; the bundle's if not given.
        serving: Instances, queue and version.
        replace: Put the version in the place of one that holds another model.

    Returns:
        The model's folder: `config.pbtxt`, `labels.txt` and the version's model file.

    Raises:
        BundleError: The bundle lacks that engine, or does not say in known words how it was built.
        ConfigError: The name is no folder name, or another model is there and `replace` is false.
        FerEdgeError: The folder cannot be written; nothing was changed.
        UnsupportedTargetError: Triton has no backend for the engine, or not of that kind; or the plan has no weights.
    """
    serving = serving or Serving()
    name = bundle.manifest.name if name is None else name
    if not name or name in (".", "..") or any(sign in name for sign in "/\\:\0"):
        raise ConfigError(f"the model's name is {name!r}; expected a plain folder name: give another")
    entry = bundle.entry(engine)
    backend = _backend(entry, serving.kind)
    profiles = _profiles(bundle, entry)
    model = bundle.read(entry.file or MODEL)
    folder = repository / name
    config = triton_config(bundle, folder.name, backend, _outputs(bundle), serving, profiles)
    labels = "".join(f"{label}\n" for label in bundle.manifest.labels)
    new = ModelVersion(folder, serving.version, backend.file, model, labels, _text_format(config))
    check_replaceable(new, replace=replace)
    write_version(new)
    return folder


def server_options(entry: EngineEntry) -> tuple[str, ...]:
    """What Triton must be started with to serve an engine."""
    compatible = entry.engine == "tensorrt" and entry.engine_version.endswith("+")
    return (VERSION_COMPATIBLE,) if compatible else ()


def _backend(entry: EngineEntry, kind: Kind | None) -> Backend:
    if entry.engine not in BACKENDS:
        raise UnsupportedTargetError(
            f"Triton has no backend for {entry.engine}; choose one of {', '.join(BACKENDS)} that the bundle has"
        )
    backend = BACKENDS[entry.engine]
    if kind not in (None, *backend.kinds):
        only = backend.kinds[0]
        raise UnsupportedTargetError(
            f"Triton's {backend.name} backend runs on {only.upper()}s only; got kind {kind}: "
            f"give {only}, or choose another engine"
        )
    return backend


def _profiles(bundle: Bundle, entry: EngineEntry) -> int:
    """How many optimisation profiles an engine's plan has; 0 for what is no plan."""
    if entry.engine != "tensorrt":
        return 0
    again = "build it again with: fer-edge add-engine BUNDLE -o OUT --engine tensorrt"
    try:
        options = options_from_settings(entry.options)
        profiles = options.profiles(bundle.manifest.max_batch)
    except ConfigError as error:
        raise BundleError(
            f"{bundle.path}: the options its tensorrt engine was built with are not understood: {error}; "
            f"update fer-edge, or {again}"
        ) from error
    if options.weights == "stripped":
        raise UnsupportedTargetError(
            f"{bundle.path}: the tensorrt engine was built with weights = stripped: its plan has no weights, "
            f"and Triton cannot add them; {again} --option weights=inside"
        )
    return len(profiles)


def triton_config(
    bundle: Bundle, name: str, backend: Backend, outputs: tuple[str, ...], serving: Serving, profiles: int = 0
) -> dict[str, Any]:
    """The fields of Triton's `ModelConfig` message."""
    most, classes = bundle.manifest.max_batch, len(bundle.manifest.labels)
    config: dict[str, Any] = {
        "name": name,
        "backend": backend.name,
        "default_model_filename": backend.file,
        "max_batch_size": most,
        "input": [
            {
                "name": INPUT_NAME,
                "data_type": Word("TYPE_UINT8"),
                "format": Word("FORMAT_NHWC"),
                "dims": [IMAGE_SIZE, IMAGE_SIZE, 3],
            }
        ],
        "output": [
            {
                "name": output,
                "data_type": Word("TYPE_FP32"),
                "dims": [classes],
                **({"label_filename": LABELS} if output == "probabilities" else {}),
            }
            for output in outputs
        ],
        "instance_group": [_instances(backend, serving, profiles)],
        "model_warmup": [_warm_up(batch) for batch in sorted({1, most})],
    }
    if most > 1:
        config["dynamic_batching"] = {
            "preferred_batch_size": sorted({min(most, size) for size in (4, 8, most)}),
            "max_queue_delay_microseconds": serving.queue_delay_us,
        }
    if backend.name == "tensorrt":
        config["optimization"] = {"cuda": {"graphs": True, "graph_spec": _graphs(most)}}
    if backend.name == "openvino" and most > 1:  # it compiles for the largest batch and would refuse any other
        config["parameters"] = [{"key": "ENABLE_BATCH_PADDING", "value": {"string_value": "YES"}}]
    return config


def _graphs(most: int) -> list[dict[str, int]]:
    """Batch sizes that get a CUDA graph: those the runner gives one, and the largest, which a long queue makes.

    Triton launches a graph only for a batch of exactly its size. Unless it is told, it captures 1, the largest and what
    dynamic batching prefers, and the queue seldom holds just so many.
    """
    return [{"batch_size": size} for size in sorted({*range(1, min(most, GRAPH_BATCHES) + 1), most})]


def _instances(backend: Backend, serving: Serving, profiles: int) -> dict[str, Any]:
    kind = serving.kind or backend.kinds[0]
    group: dict[str, Any] = {"count": serving.instances, "kind": Word(f"KIND_{kind.upper()}")}
    if profiles > 1:  # unless they are named, Triton takes the first one only, which may be for single frames
        group["profile"] = [str(index) for index in range(profiles)]
    return group


def _warm_up(batch: int) -> dict[str, Any]:
    """Triton runs it before the first request: kernels are loaded, and TensorRT's graphs captured."""
    images = {"data_type": Word("TYPE_UINT8"), "dims": [IMAGE_SIZE, IMAGE_SIZE, 3], "random_data": True}
    return {"name": f"batch of {batch}", "batch_size": batch, "inputs": {"key": INPUT_NAME, "value": images}}


def _outputs(bundle: Bundle) -> tuple[str, ...]:
    graph = onnx.load_from_string(bundle.read(MODEL)).graph
    present = {output.name for output in graph.output}
    return tuple(name for name in OUTPUT_NAMES if name in present)


def _text_format(fields: Mapping[str, Any], indent: str = "") -> str:
    """Protobuf's text format of nested fields."""
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
    if isinstance(value, str) and not isinstance(value, Word):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    return str(value)
