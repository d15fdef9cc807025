"""A bundle's model for Triton Inference Server: from one machine to many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnx

from fer_edge._files import write_atomically
from fer_edge.bundle import MODEL, Bundle
from fer_edge.engines.base import IMAGE_SIZE, INPUT_NAME, OUTPUT_NAMES
from fer_edge.errors import ConfigError, UnsupportedTarget

LABELS = "labels.txt"
# Engine -> Triton's backend and the name it expects of the file.
BACKENDS = {
    "tensorrt": ("tensorrt", "model.plan"),
    "onnxruntime": ("onnxruntime", "model.onnx"),
    "openvino": ("openvino", "model.onnx"),
}

Kind = Literal["cpu", "gpu"]


class Word(str):
    """An enumerator, which stands without quotes."""


@dataclass(frozen=True)
class Serving:
    """How Triton serves a model."""

    instances: int = 1  # copies on each device that work side by side
    kind: Kind | None = None  # where; None: gpu for tensorrt, cpu for the others
    queue_delay_us: int = 500  # how long a request waits for others to share a batch with, in microseconds
    version: int = 1  # of the model in the repository

    def __post_init__(self) -> None:
        """Refuse what Triton would.

        Raises:
            ConfigError: A number is out of range.
        """
        if self.instances < 1 or self.version < 1 or self.queue_delay_us < 0:
            raise ConfigError(f"instances and version start at 1, queue_delay_us at 0; got {self}")


def export_triton(
    bundle: Bundle,
    repository: Path,
    *,
    engine: str | None = None,
    name: str | None = None,
    serving: Serving | None = None,
) -> Path:
    """Write one model of a Triton model repository.

    Args:
        bundle: What to serve.
        repository: Folder that Triton is started with.
        engine: One of the bundle's engines; its first if not given.
        name: Of the model; the bundle's if not given.
        serving: Instances, queue and version.

    Returns:
        The model's folder: `config.pbtxt`, `labels.txt` and the version's model file.

    Raises:
        BundleError: The bundle lacks that engine.
        ConfigError: The name is no folder name.
        UnsupportedTarget: Triton has no backend for the engine.
    """
    serving = serving or Serving()
    name = bundle.manifest.name if name is None else name
    if not name or name in (".", "..") or any(sign in name for sign in "/\\:\0"):
        raise ConfigError(f"the model's name is {name!r}; expected a plain folder name: give another")
    entry = bundle.entry(engine)
    if entry.engine not in BACKENDS:
        raise UnsupportedTarget(
            f"Triton has no backend for {entry.engine}; choose one of {', '.join(BACKENDS)} that the bundle has"
        )
    backend, file = BACKENDS[entry.engine]
    model = bundle.read(entry.file or MODEL)
    folder = repository / name
    config = triton_config(bundle, folder.name, backend, _outputs(bundle), serving)
    write_atomically(folder / str(serving.version) / file, model)
    write_atomically(folder / LABELS, "".join(f"{label}\n" for label in bundle.manifest.labels).encode())
    write_atomically(folder / "config.pbtxt", _text_format(config).encode())  # last: with it the model is there
    return folder


def triton_config(
    bundle: Bundle, name: str, backend: str, outputs: tuple[str, ...], serving: Serving
) -> dict[str, Any]:
    """The fields of Triton's `ModelConfig` message."""
    most, classes = bundle.manifest.max_batch, len(bundle.manifest.labels)
    kind = serving.kind or ("gpu" if backend == "tensorrt" else "cpu")
    config: dict[str, Any] = {
        "name": name,
        "backend": backend,
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
        "instance_group": [{"count": serving.instances, "kind": Word(f"KIND_{kind.upper()}")}],
        "model_warmup": [_warm_up(batch) for batch in sorted({1, most})],
    }
    if most > 1:
        config["dynamic_batching"] = {
            "preferred_batch_size": sorted({min(most, size) for size in (4, 8, most)}),
            "max_queue_delay_microseconds": serving.queue_delay_us,
        }
    if backend == "tensorrt":
        config["optimization"] = {"cuda": {"graphs": True}}
    return config


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
