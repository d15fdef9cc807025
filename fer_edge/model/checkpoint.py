"""Checkpoints: one safetensors file with weights and the metadata to rebuild the model."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from fer_edge._files import as_path, sha256, write_atomically
from fer_edge._settings import Finite, convert, convert_fields, table
from fer_edge._text import one_line
from fer_edge.errors import CheckpointError, FerEdgeError, NonFiniteError
from fer_edge.file_kind import describe_file
from fer_edge.labels import LabelSet
from fer_edge.manifest import Head
from fer_edge.model.config import ModelConfig
from fer_edge.model.ferformer import FERFormer
from fer_edge.shipped import path_or_shipped

FORMAT_VERSION = 1
METADATA_KEY = "fer_edge"
MAX_METADATA_BYTES = 1 << 20
Channels = tuple[Finite, Finite, Finite]  # values for red, green and blue


@dataclass(frozen=True)
class CheckpointInfo:
    """Metadata of a checkpoint."""

    config: ModelConfig
    labels: tuple[str, ...]
    words: tuple[str, ...]  # word of each label in prompts
    templates: tuple[str, ...]  # prompt templates the text features were made with; empty if learned
    text_source: str  # "open_clip:NAME:WEIGHTS", "minilm:NAME:WEIGHTS", "learned", "unset" or "none"
    mean: Channels  # of RGB in [0, 1]
    std: Channels
    head: Head = "mean"  # head whose probabilities the deploy graph returns
    metrics: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        convert_fields(self, error=CheckpointError)
        if len(self.labels) != self.config.classes or len(self.words) != self.config.classes:
            raise CheckpointError(
                f"{len(self.labels)} labels and {len(self.words)} words for {self.config.classes} classes; "
                "expected one of each per class"
            )
        if min(self.std) <= 0:
            raise CheckpointError(f"std is {self.std}; expected values above 0")
        if not self.config.text_head and self.head != "label":
            raise CheckpointError(f"head is {self.head!r} but the model has no text head; expected label")

    def to_json(self) -> str:
        """Return the metadata as stored in the file.

        Raises:
            NonFiniteError: NaN or infinity in metrics or provenance, which JSON does not support.
        """
        try:
            return json.dumps({"format": FORMAT_VERSION, **asdict(self)}, sort_keys=True, allow_nan=False)
        except ValueError as error:
            raise NonFiniteError(f"metrics or provenance of the checkpoint contain NaN or infinity: {error}") from error

    @classmethod
    def of_model(
        cls, config: ModelConfig, labels: LabelSet, mean: Channels, std: Channels, text_source: str = "unset"
    ) -> CheckpointInfo:
        """Return the metadata of a model without prompts."""
        return cls(config, labels.labels, labels.words, (), text_source, mean, std, default_head(config))

    @classmethod
    def from_json(cls, text: str) -> CheckpointInfo:
        """Parse stored metadata.

        Raises:
            CheckpointError: Invalid metadata, or a newer format.
        """
        try:
            # Older versions wrote NaN as a value.
            data = table(json.loads(text, parse_constant=lambda _: None), "metadata")
            data = {"head" if key == "decision" else key: value for key, value in data.items()}  # its former name
            version = data.pop("format", None)
            if version == FORMAT_VERSION:
                return convert(data, cls, "metadata", CheckpointError)
        except (ValueError, RecursionError, FerEdgeError) as error:
            raise CheckpointError(
                f"checkpoint metadata not understood: {error}; get the file from its maker again"
            ) from error
        raise CheckpointError(f"checkpoint format {version!r}; this version reads {FORMAT_VERSION}: update fer-edge")


def default_head(config: ModelConfig) -> Head:
    """Return the default head: the mean of both heads for a model with a text head, else the label head."""
    return "mean" if config.text_head else "label"


@dataclass(frozen=True)
class Checkpoint:
    """A model with its metadata."""

    model: FERFormer
    info: CheckpointInfo

    def save(self, path: str | os.PathLike[str], *, half: bool = False) -> None:
        """Check the checkpoint as `load_checkpoint` does, and write it atomically.

        Args:
            path: File to write, `.safetensors`.
            half: Whether to store weights as float16; statistics of batch norms stay float32. False by default.

        Raises:
            NonFiniteError: NaN or infinity in weights or metrics, or a weight beyond float16's range.
            CheckpointError: A model that does not match `info`, or a negative variance.
        """
        file = as_path(path, "the checkpoint to write", CheckpointError)
        refusal, metadata = f"{file} is not written", self.info.to_json()
        if len(metadata) > MAX_METADATA_BYTES:
            raise CheckpointError(f"{refusal}: its metadata exceeds {MAX_METADATA_BYTES} bytes")
        tensors = self._tensors()
        check_tensors(tensors, self.info.config, refusal)
        if half:
            advice = "leave out half precision (--half)"
            for name, tensor in tensors.items():
                if tensor.is_floating_point() and "running" not in name:
                    tensors[name] = convert_tensor(f"{refusal}: {name}", tensor, torch.float16, advice)
        write_atomically(file, safetensors_bytes(tensors, metadata={METADATA_KEY: metadata}))

    def fingerprint(self) -> str:
        """Return the SHA-256 of weights and metadata, in hex."""
        return sha256(safetensors_bytes(self._tensors(), metadata={METADATA_KEY: self.info.to_json()}))

    def _tensors(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu().contiguous() for name, tensor in self.model.state_dict().items()}

    def with_info(self, **changes: Any) -> Checkpoint:
        """Return a checkpoint of the same model with changed fields of `info`."""
        return replace(self, info=replace(self.info, **changes))


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Load a checkpoint; its model is in eval mode and float32.

    Args:
        path: Checkpoint (.safetensors), or "edge", the shipped one.

    Raises:
        CheckpointError: Missing or damaged file, another kind of file, or tensors that do not match its configuration.
        NonFiniteError: NaN or infinity in a weight.
    """
    path = path_or_shipped("checkpoint", as_path(path, "the checkpoint", CheckpointError))
    info, tensors = _open(path, tensors=True)
    check_tensors(tensors, info.config, str(path))
    with torch.device("meta"):
        model = FERFormer(info.config)
    dtypes = {name: tensor.dtype for name, tensor in model.state_dict().items()}
    model.to_empty(device="cpu")
    _restore_constants(model)
    model.load_state_dict(
        {name: convert_tensor(f"{path}: {name}", value, dtypes[name]) for name, value in tensors.items()}
    )
    return Checkpoint(model.eval(), info)


def check_tensors(tensors: Mapping[str, Tensor], config: ModelConfig, source: str) -> None:
    """Check that tensors are a complete state dict of a model, before saving and after loading.

    Args:
        tensors: Tensors by name.
        config: Configuration of the model.
        source: Name of the file for messages.

    Raises:
        CheckpointError: Missing or unknown tensors, a wrong shape or type, or a negative variance.
        NonFiniteError: NaN or infinity in a weight.
    """
    with torch.device("meta"):  # allocates no memory before the tensors are checked
        expected = FERFormer(config).state_dict()
    missing = sorted(expected.keys() - tensors.keys())
    extra = sorted(tensors.keys() - expected.keys())
    if missing or extra:
        raise CheckpointError(f"{source}: tensors missing: {_names(missing)}; unknown: {_names(extra)}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{source}: {name} has shape {tuple(tensor.shape)}; expected {tuple(expected[name].shape)}"
            )
        check_values(f"{source}: {name}", tensor, expected[name].dtype)


def check_values(name: str, tensor: Tensor, dtype: torch.dtype) -> None:
    """Check the values of a model's tensor.

    Args:
        name: File and name of the tensor for messages; a name that ends in "running_var" marks variances.
        tensor: Values to check.
        dtype: Type of the tensor in the model.

    Raises:
        CheckpointError: Integers in place of weights, or a negative variance.
        NonFiniteError: NaN or infinity.
    """
    if not dtype.is_floating_point:
        return
    if not tensor.is_floating_point():
        raise CheckpointError(
            f"{name} is of type {str(tensor.dtype).removeprefix('torch.')}; expected floating point, not quantised "
            "weights"
        )
    nonfinite = int((~torch.isfinite(tensor)).sum())
    if nonfinite:
        raise NonFiniteError(
            f"{name} contains NaN or infinity: {nonfinite} of {tensor.numel()} values; use weights of an "
            "earlier epoch, before the training diverged"
        )
    if name.endswith("running_var") and bool((tensor < 0).any()):
        raise CheckpointError(f"{name} contains negative values, and variances are at least 0: the file is damaged")


def convert_tensor(name: str, tensor: Tensor, dtype: torch.dtype, advice: str = "the weights fit no model") -> Tensor:
    """Convert a tensor to another type, and check that finite values stay finite.

    Args:
        name: File and name of the tensor for messages.
        tensor: Values to convert.
        dtype: Type of the result.
        advice: Next step at the end of the message.

    Raises:
        NonFiniteError: A value beyond the range of the type.
    """
    result = tensor.to(dtype)
    if not dtype.is_floating_point:
        return result
    overflowing = tensor[torch.isfinite(tensor) & ~torch.isfinite(result)]
    if len(overflowing):
        kind, largest = str(dtype).removeprefix("torch."), torch.finfo(dtype).max
        raise NonFiniteError(
            f"{name} contains {float(overflowing[0]):g}, beyond {kind}'s largest value {largest:g}; {advice}"
        )
    return result


def read_checkpoint_info(path: str | os.PathLike[str]) -> CheckpointInfo:
    """Read the metadata of a checkpoint without its weights.

    Args:
        path: Checkpoint (.safetensors), or "edge", the shipped one.

    Raises:
        CheckpointError: Missing or damaged file, or another kind of file.
    """
    return _open(path_or_shipped("checkpoint", as_path(path, "the checkpoint", CheckpointError)), tensors=False)[0]


def _open(path: Path, *, tensors: bool) -> tuple[CheckpointInfo, dict[str, Tensor]]:
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; name a checkpoint (.safetensors)")
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = cast("dict[str, str]", file.metadata() or {})
            if METADATA_KEY not in metadata:
                raise CheckpointError(_describe_other_file(path))
            if len(metadata[METADATA_KEY]) > MAX_METADATA_BYTES:
                raise CheckpointError(f"{path}: metadata larger than {MAX_METADATA_BYTES} bytes")
            info = _parse_info(metadata[METADATA_KEY], path)
            names = list(file.keys()) if tensors else []
            return info, {name: file.get_tensor(name) for name in names}
    except RuntimeError as error:  # of PyTorch, which opens the file again
        raise CheckpointError(f"{path} cannot be read: {one_line(str(error), 160)}") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(_describe_other_file(path, error)) from error


def _describe_other_file(path: Path, error: Exception | None = None) -> str:
    """Return a message that describes an unreadable file and, if one exists, the command that reads it."""
    kind = describe_file(path)
    if kind == "a fer-edge checkpoint" or (error is not None and "safetensors file" in kind):
        return f"{path} is a damaged checkpoint ({one_line(str(error), 120)}): copy or download it again"
    if kind == "a fer-edge bundle":
        return f"{path} is a bundle; name the checkpoint it was built from (.safetensors)"
    if kind == "a file of text features":
        return f"{path} is a file of text features, not a checkpoint; commands take it as --text-features"
    if kind in ("a PyTorch file", "a NumPy archive (.npz)", "a Python pickle"):
        return f"{path} is {kind}, not a fer-edge checkpoint: convert it with `fer-edge checkpoint import`"
    return f"{path} is {kind}; expected a fer-edge checkpoint (.safetensors)"


def _parse_info(metadata: str, path: Path) -> CheckpointInfo:
    try:
        return CheckpointInfo.from_json(metadata)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _restore_constants(model: FERFormer) -> None:
    """Restore the buffers that checkpoints do not store."""
    for module in model.modules():
        restore = getattr(module, "restore_constants", None)
        if restore is not None:
            restore()


def _names(names: list[str]) -> str:
    shown = ", ".join(names[:5]) or "none"
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
