"""Models as runners: an engine of a bundle, or the PyTorch reference of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fer_edge._files import file_sha256
from fer_edge._require import require
from fer_edge.bundle import Bundle
from fer_edge.choices import Head
from fer_edge.engines.base import Runner, RunOptions
from fer_edge.errors import BundleError, CheckpointError, ConfigError
from fer_edge.file_kind import describe_file

if TYPE_CHECKING:
    from fer_edge.model.runner import PyTorchRunner


@dataclass(frozen=True)
class ModelInfo:
    """Properties of a model file, and the engine it runs on."""

    name: str
    engine: str
    precision: str
    labels: tuple[str, ...]
    words: tuple[str, ...]
    head: Head
    checkpoint: str | None  # SHA-256 of the checkpoint, or of the one that a bundle was built from


@dataclass(frozen=True)
class OpenedModel(ModelInfo):
    """A model and its runner."""

    runner: Runner


def model_format(path: Path) -> Literal["bundle", "checkpoint"]:
    """Detect the format of a model file by its content; the suffix counts only for a damaged file.

    Raises:
        BundleError: A missing file, or a file of another kind, which the message names.
    """
    if not path.exists():
        raise BundleError(f"no file at {path}; expected a bundle (.fer) or a checkpoint (.safetensors)")
    kind = describe_file(path)
    if kind in ("a fer-edge bundle", "a fer-edge checkpoint"):
        return "bundle" if kind == "a fer-edge bundle" else "checkpoint"
    if path.suffix == ".fer" and "zip archive" in kind:
        return "bundle"
    if path.suffix == ".safetensors" and "damaged safetensors" in kind:
        return "checkpoint"
    raise BundleError(f"{path} is {kind}; expected a bundle (.fer) or a checkpoint (.safetensors)")


def open_model(
    path: Path | Bundle,
    engine: str | None = None,
    threads: int | None = None,
    device: int = 0,
    *,
    allow_host_code: bool = False,
) -> OpenedModel:
    """Open a bundle on one of its engines, or a checkpoint on PyTorch.

    Args:
        path: Open bundle, or file of a bundle or checkpoint, whose format is detected by content.
        engine: Engine of the bundle; None selects the first that runs on this machine.
        threads: Number of CPU threads of one inference; None for the engine's default.
        device: Index of the GPU, for engines that run on one.
        allow_host_code: Whether native code inside a version-compatible TensorRT engine may run; only for bundles from
            a trusted source.

    Raises:
        ConfigError: An engine that does not run this format.
        BundleError: A missing file, a file of another kind, a bundle that is damaged or does not fit this machine, or
            labels that do not fit the model.
        EngineUnavailableError: The engine, or torch for a checkpoint, is not installed.
    """
    if isinstance(path, Path) and model_format(path) == "checkpoint":
        if engine not in (None, "pytorch"):
            raise ConfigError(f"{path} is a checkpoint, which only pytorch runs; build a bundle for {engine}")
        return _open_checkpoint(path, threads)
    if engine == "pytorch":
        raise ConfigError(f"{path} is a bundle, which pytorch does not run; name its checkpoint")
    bundle = path if isinstance(path, Bundle) else Bundle.open(path)
    options = RunOptions(threads=threads, device=device, allow_host_code=allow_host_code)
    engine = bundle.runnable_entry(engine, device).engine
    runner = bundle.warm_runner(engine, options)
    return OpenedModel(**vars(describe_bundle(bundle, engine)), runner=runner)


def describe_bundle(bundle: Bundle, engine: str) -> ModelInfo:
    """Return the properties of a bundle without loading an engine.

    Args:
        bundle: Opened bundle.
        engine: Name of the engine, or of the runner whose outputs stand in for it.
    """
    manifest = bundle.manifest
    return ModelInfo(
        name=bundle.path.name,
        engine=engine,
        precision=manifest.precision,
        labels=manifest.labels,
        words=manifest.words,
        head=manifest.head,
        checkpoint=manifest.checkpoint.get("sha256"),
    )


def open_reference(model: ModelInfo, checkpoint: Path, threads: int | None = None) -> PyTorchRunner:
    """Open the checkpoint that a bundle was built from, as the PyTorch reference.

    Args:
        model: Properties of the bundle.
        checkpoint: Checkpoint file.
        threads: Number of CPU threads; None for PyTorch's default.

    Raises:
        CheckpointError: Not the checkpoint that the bundle was built from.
        EngineUnavailableError: PyTorch is not installed.
    """
    runner = _load_reference(checkpoint, threads)
    if model.checkpoint not in (None, file_sha256(checkpoint)) or runner.info.labels != model.labels:
        raise CheckpointError(f"{model.name} was built from another checkpoint than {checkpoint}; name that one")
    return runner


def _open_checkpoint(path: Path, threads: int | None) -> OpenedModel:
    runner = _load_reference(path, threads)
    info = runner.info
    return OpenedModel(
        name=path.name,
        engine="pytorch",
        precision="fp32",
        labels=info.labels,
        words=info.words,
        head=info.head,
        checkpoint=file_sha256(path),
        runner=runner,
    )


def _load_reference(path: Path, threads: int | None) -> PyTorchRunner:
    for package in ("torch", "safetensors"):
        require(package, "export", "a checkpoint")
    from fer_edge.model.runner import load_reference

    return load_reference(path, threads)
