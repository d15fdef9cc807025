"""Checkpoints: one safetensors file that holds weights and all that is needed to rebuild and fold the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from fer_edge._files import sha256, write_atomically
from fer_edge._settings import Finite, convert, convert_fields, table, with_new_names
from fer_edge._text import one_line
from fer_edge.errors import CheckpointError, FerEdgeError, NonFiniteError
from fer_edge.file_kind import describe_file
from fer_edge.manifest import Head
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
    mean: tuple[Finite, Finite, Finite]  # of RGB in [0, 1]
    std: tuple[Finite, Finite, Finite]
    head: Head = "mean"  # which head's probabilities the deploy graph gives
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
        """The metadata as stored.

        Raises:
            NonFiniteError: Metrics or provenance hold NaN or infinity, which JSON does not have.
        """
        try:
            return json.dumps({"format": FORMAT_VERSION, **asdict(self)}, sort_keys=True, allow_nan=False)
        except ValueError as error:
            raise NonFiniteError(f"metrics or provenance of the checkpoint hold NaN or infinity: {error}") from error

    @classmethod
    def from_json(cls, text: str) -> CheckpointInfo:
        """Read the stored form.

        Raises:
            CheckpointError: It is not understood.
        """
        try:
            # Older versions wrote NaN.
            data = table(json.loads(text, parse_constant=lambda _: None), "metadata")
            data = with_new_names(data, {"decision": "head"})
            version = data.pop("format", None)
            if version == FORMAT_VERSION:
                return convert(data, cls, "metadata", CheckpointError)
        except (ValueError, RecursionError, FerEdgeError) as error:
            raise CheckpointError(
                f"checkpoint metadata not understood: {error}; get the file from its maker again"
            ) from error
        raise CheckpointError(f"checkpoint format {version}; this version reads {FORMAT_VERSION}: update fer-edge")


def default_head(config: ModelConfig) -> Head:
    """What decides until someone chooses: both heads, where there are two."""
    return "mean" if config.text_head else "label"


@dataclass(frozen=True)
class Checkpoint:
    """A model and what its checkpoint says about it."""

    model: FERFormer
    info: CheckpointInfo

    def save(self, path: Path, *, half: bool = False) -> None:
        """Write the checkpoint, whole or not at all, after the checks that `load_checkpoint` makes.

        Args:
            path: File to write, `.safetensors`.
            half: Store weights as float16; statistics of batch norms stay float32.

        Raises:
            NonFiniteError: Weights or metrics are NaN or infinite, or a weight is beyond float16.
            CheckpointError: The model is not the one that `info` describes, or a variance is negative.
        """
        refusal, metadata = f"{path} is not written", self.info.to_json()
        if len(metadata) > MAX_METADATA_BYTES:
            raise CheckpointError(f"{refusal}: its metadata have more than {MAX_METADATA_BYTES} bytes")
        tensors = self._tensors()
        check_tensors(tensors, self.info.config, refusal)
        if half:
            advice = "leave out half precision (--half)"
            for name, tensor in tensors.items():
                if tensor.is_floating_point() and "running" not in name:
                    tensors[name] = converted(f"{refusal}: {name}", tensor, torch.float16, advice)
        write_atomically(path, safetensors_bytes(tensors, metadata={METADATA_KEY: metadata}))

    def fingerprint(self) -> str:
        """Hex SHA-256 of weights and metadata."""
        return sha256(safetensors_bytes(self._tensors(), metadata={METADATA_KEY: self.info.to_json()}))

    def _tensors(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu().contiguous() for name, tensor in self.model.state_dict().items()}

    def with_info(self, **changes: Any) -> Checkpoint:
        """The same model with changed metadata."""
        return replace(self, info=replace(self.info, **changes))


def load_checkpoint(path: Path) -> Checkpoint:
    """Rebuild the model of a checkpoint, in eval mode and float32.

    Raises:
        CheckpointError: The file is missing, damaged, no fer-edge checkpoint, or its tensors do not fit.
        NonFiniteError: A weight is NaN or infinite.
    """
    info, tensors = _open(path, tensors=True)
    check_tensors(tensors, info.config, str(path))
    with torch.device("meta"):
        model = FERFormer(info.config)
    dtypes = {name: tensor.dtype for name, tensor in model.state_dict().items()}
    model.to_empty(device="cpu")
    _restore_constants(model)
    model.load_state_dict({name: converted(f"{path}: {name}", value, dtypes[name]) for name, value in tensors.items()})
    return Checkpoint(model.eval(), info)


def check_tensors(tensors: Mapping[str, Tensor], config: ModelConfig, source: str) -> None:
    """Refuse tensors that are not a whole model's; saving and loading accept the same.

    Args:
        tensors: By name.
        config: Of the model.
        source: File, for messages.

    Raises:
        CheckpointError: Tensors are missing, not known, of another shape or type, or a variance is negative.
        NonFiniteError: A weight is NaN or infinite.
    """
    with torch.device("meta"):  # no memory is taken before the tensors are seen to fit
        expected = FERFormer(config).state_dict()
    missing = sorted(expected.keys() - tensors.keys())
    extra = sorted(tensors.keys() - expected.keys())
    if missing or extra:
        raise CheckpointError(f"{source}: tensors missing: {_names(missing)}; not known: {_names(extra)}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{source}: {name} has shape {tuple(tensor.shape)}; expected {tuple(expected[name].shape)}"
            )
        check_values(f"{source}: {name}", tensor, expected[name].dtype)


def check_values(name: str, tensor: Tensor, dtype: torch.dtype) -> None:
    """Refuse values that no trained model has.

    Args:
        name: Of the tensor, with its file, for messages; one that ends in "running_var" holds variances.
        tensor: The values.
        dtype: Of the model's tensor.

    Raises:
        CheckpointError: Whole numbers stand where weights are expected, or a variance is negative.
        NonFiniteError: A value is NaN or infinite.
    """
    if not dtype.is_floating_point:
        return
    if not tensor.is_floating_point():
        raise CheckpointError(
            f"{name} is of type {str(tensor.dtype).removeprefix('torch.')}; expected floating point, not quantised "
            "weights"
        )
    unusable = int((~torch.isfinite(tensor)).sum())
    if unusable:
        raise NonFiniteError(
            f"{name} holds values that are not finite: {unusable} of {tensor.numel()} are NaN or infinity; take "
            "weights of an earlier epoch, from before training went wrong"
        )
    if name.endswith("running_var") and bool((tensor < 0).any()):
        raise CheckpointError(f"{name} holds negative values; a variance is never below 0: the file is damaged")


def converted(name: str, tensor: Tensor, dtype: torch.dtype, advice: str = "the weights fit no model") -> Tensor:
    """The tensor as another type, in which every value stays finite.

    Raises:
        NonFiniteError: A value is beyond what the type can hold.
    """
    result = tensor.to(dtype)
    if not dtype.is_floating_point:
        return result
    overflowing = tensor[torch.isfinite(tensor) & ~torch.isfinite(result)]
    if len(overflowing):
        kind, largest = str(dtype).removeprefix("torch."), torch.finfo(dtype).max
        raise NonFiniteError(f"{name} holds {float(overflowing[0]):g}, beyond {kind}'s {largest:g}; {advice}")
    return result


def read_checkpoint_info(path: Path) -> CheckpointInfo:
    """The metadata alone, without loading weights.

    Raises:
        CheckpointError: The file is missing, damaged or no fer-edge checkpoint.
    """
    return _open(path, tensors=False)[0]


def _open(path: Path, *, tensors: bool) -> tuple[CheckpointInfo, dict[str, Tensor]]:
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; name a checkpoint (.safetensors)")
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = cast("dict[str, str]", file.metadata() or {})
            if METADATA_KEY not in metadata:
                raise CheckpointError(_what_it_is(path))
            if len(metadata[METADATA_KEY]) > MAX_METADATA_BYTES:
                raise CheckpointError(f"{path}: metadata larger than {MAX_METADATA_BYTES} bytes")
            info = _info_of(metadata[METADATA_KEY], path)
            names = list(file.keys()) if tensors else []
            return info, {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(_what_it_is(path, error)) from error


def _what_it_is(path: Path, error: Exception | None = None) -> str:
    """Name a file that is no readable checkpoint, and the command that reads it."""
    kind = describe_file(path)
    if kind == "a fer-edge checkpoint" or (error is not None and "safetensors file" in kind):
        return f"{path} is a damaged checkpoint ({one_line(str(error), 120)}): copy or download it again"
    if kind == "a fer-edge bundle":
        return f"{path} is a bundle; name the checkpoint it was built from (.safetensors)"
    if kind == "a file of text features":
        return f"{path} is a file of text features, not a checkpoint; commands take it as --text-features"
    if kind in ("a PyTorch file", "a NumPy archive (.npz)", "a Python pickle"):
        return f"{path} is {kind}, not a fer-edge checkpoint: fer-edge import-checkpoint reads weights made elsewhere"
    return f"{path} is {kind}; expected a fer-edge checkpoint (.safetensors)"


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
