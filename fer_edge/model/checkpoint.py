"""Checkpoints: one safetensors file that holds weights and all that is needed to rebuild and fold the model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes

from fer_edge._checked import build, check_types, table
from fer_edge._files import sha256, write_atomically
from fer_edge.errors import CheckpointError, FerEdgeError
from fer_edge.manifest import Decision
from fer_edge.model.config import ModelConfig
from fer_edge.model.ferformer import FERFormer

FORMAT_VERSION = 1
METADATA_KEY = "fer_edge"
MAX_METADATA_BYTES = 1 << 20


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says about itself."""

    config: ModelConfig
    labels: tuple[str, ...]
    words: tuple[str, ...]  # what prompts say for each label
    templates: tuple[str, ...]  # prompt templates the text features were made with; empty if learned
    text_source: str  # "open_clip:NAME:WEIGHTS", "file:NAME", "learned", "unset" or "none"
    mean: tuple[float, float, float]  # of RGB in [0, 1]
    std: tuple[float, float, float]
    decision: Decision = "mean"  # which head's probabilities the deploy graph gives
    metrics: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_types(CheckpointInfo, vars(self), error=CheckpointError)
        if len(self.labels) != self.config.classes or len(self.words) != self.config.classes:
            raise CheckpointError(
                f"{len(self.labels)} labels and {len(self.words)} words for {self.config.classes} classes; "
                "expected one of each per class"
            )
        if min(self.std) <= 0:
            raise CheckpointError(f"std is {self.std}; expected values above 0")
        if not self.config.text_head and self.decision != "label":
            raise CheckpointError(f"decision is {self.decision!r} but the model has no text head; expected label")

    def to_json(self) -> str:
        """The metadata as stored."""
        return json.dumps({"format": FORMAT_VERSION, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> CheckpointInfo:
        """Read the stored form.

        Raises:
            CheckpointError: It is not understood.
        """
        try:
            data = table(json.loads(text), "metadata")
            version = data.pop("format", None)
            if version == FORMAT_VERSION:
                config = ModelConfig.from_dict(data.pop("config", None))
                return build(cls, {**data, "config": config}, "metadata", CheckpointError)
        except (ValueError, RecursionError, FerEdgeError) as error:
            raise CheckpointError(
                f"checkpoint metadata not understood: {error}; get the file from its maker again"
            ) from error
        raise CheckpointError(f"checkpoint format {version}; this version reads {FORMAT_VERSION}: update fer-edge")


def first_decision(config: ModelConfig) -> Decision:
    """What decides until someone chooses: both heads, where there are two."""
    return "mean" if config.text_head else "label"


@dataclass(frozen=True)
class Checkpoint:
    """A model and what its checkpoint says about it."""

    model: FERFormer
    info: CheckpointInfo

    def save(self, path: Path, *, half: bool = False) -> None:
        """Write the checkpoint, whole or not at all.

        Args:
            path: File to write, `.safetensors`.
            half: Store weights as float16; statistics of batch norms stay float32.
        """
        write_atomically(path, self._to_bytes(half=half))

    def fingerprint(self) -> str:
        """Hex SHA-256 of weights and metadata."""
        return sha256(self._to_bytes(half=False))

    def _to_bytes(self, *, half: bool) -> bytes:
        tensors = {}
        for name, tensor in self.model.state_dict().items():
            keep = not half or "running" in name or not tensor.is_floating_point()
            tensors[name] = tensor.detach().cpu().contiguous() if keep else tensor.detach().cpu().half().contiguous()
        return safetensors_bytes(tensors, metadata={METADATA_KEY: self.info.to_json()})

    def with_info(self, **changes: Any) -> Checkpoint:
        """The same model with changed metadata."""
        return replace(self, info=replace(self.info, **changes))


def load_checkpoint(path: Path) -> Checkpoint:
    """Rebuild the model of a checkpoint, in eval mode and float32.

    Raises:
        CheckpointError: The file is missing, damaged, no fer-edge checkpoint, or its tensors do not fit.
    """
    info, tensors = _open(path, tensors=True)
    with torch.device("meta"):  # no memory is taken before the tensors are seen to fit
        model = FERFormer(info.config)
    expected = model.state_dict()
    missing = sorted(expected.keys() - tensors.keys())
    extra = sorted(tensors.keys() - expected.keys())
    if missing or extra:
        raise CheckpointError(f"{path}: tensors missing: {_names(missing)}; not known: {_names(extra)}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{path}: {name} has shape {tuple(tensor.shape)}; expected {tuple(expected[name].shape)}"
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path}: {name} holds values that are not finite")
    model.to_empty(device="cpu")
    _restore_constants(model)
    model.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()})
    return Checkpoint(model.eval(), info)


def read_checkpoint_info(path: Path) -> CheckpointInfo:
    """The metadata alone, without loading weights.

    Raises:
        CheckpointError: The file is missing, damaged or no fer-edge checkpoint.
    """
    return _open(path, tensors=False)[0]


def _open(path: Path, *, tensors: bool) -> tuple[CheckpointInfo, dict[str, torch.Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = cast("dict[str, str]", file.metadata() or {})
            if METADATA_KEY not in metadata:
                raise CheckpointError(
                    f"{path} holds tensors but no fer-edge metadata; "
                    "weights made elsewhere come in through `fer-edge import-checkpoint`"
                )
            if len(metadata[METADATA_KEY]) > MAX_METADATA_BYTES:
                raise CheckpointError(f"{path}: metadata larger than {MAX_METADATA_BYTES} bytes")
            info = _info_of(metadata[METADATA_KEY], path)
            names = list(file.keys()) if tensors else []
            return info, {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        if path.suffix == ".fer":
            raise CheckpointError(
                f"{path} is a bundle; name the checkpoint it was built from (.safetensors)"
            ) from error
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error


def _info_of(metadata: str, path: Path) -> CheckpointInfo:
    try:
        return CheckpointInfo.from_json(metadata)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _restore_constants(model: FERFormer) -> None:
    """Buffers that are not stored come back from code."""
    for module in model.modules():
        restore = getattr(module, "restore_constants", None)
        if restore is not None:
            restore()


def _names(names: list[str]) -> str:
    shown = ", ".join(names[:5]) or "none"
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
