"""Runners by file: a bundle's engine, or a checkpoint's PyTorch reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fer_edge._files import file_sha256
from fer_edge.bundle import Bundle
from fer_edge.engines.base import Runner, RunOptions
from fer_edge.errors import CheckpointError, ConfigError, EngineUnavailable

if TYPE_CHECKING:
    from fer_edge.model.runner import PyTorchRunner


@dataclass(frozen=True)
class OpenedModel:
    """A runner and what its file says about labels and decision."""

    runner: Runner
    name: str
    engine: str
    precision: str
    labels: tuple[str, ...]
    words: tuple[str, ...]
    decision: str  # label, text or mean
    checkpoint: str | None  # SHA-256 of the checkpoint, or of that which a bundle was built from


def open_model(
    path: Path,
    engine: str | None = None,
    threads: int | None = None,
    device: int = 0,
    *,
    allow_host_code: bool = False,
) -> OpenedModel:
    """Open a bundle (`.fer`) or a checkpoint (`.safetensors`, run by PyTorch).

    Args:
        path: The file.
        engine: One of a bundle's engines; the first that runs on this machine if not given.
        threads: CPU threads of one inference; if not given, the engine's choice.
        device: Which GPU a bundle's engine runs on, counted from 0; for engines that have one.
        allow_host_code: Run native code that a version-compatible TensorRT engine brings with it; only for a bundle
            whose origin you trust.

    Raises:
        ConfigError: The file is neither.
        BundleError: The bundle cannot be read, does not fit this machine, or its labels do not fit its model.
        EngineUnavailable: The engine, or torch for a checkpoint, is not installed.
    """
    if path.suffix == ".safetensors":
        if engine not in (None, "pytorch"):
            raise ConfigError(f"{path} is a checkpoint, which only pytorch runs; build a bundle for {engine}")
        return _open_checkpoint(path, threads)
    if path.suffix != ".fer":
        raise ConfigError(f"{path} is neither a bundle (.fer) nor a checkpoint (.safetensors)")
    bundle = Bundle.open(path)
    options = RunOptions(threads=threads, device=device, allow_host_code=allow_host_code)
    engine = bundle.runnable_entry(engine, device).engine
    runner, manifest = bundle.warm_runner(engine, options), bundle.manifest
    return OpenedModel(
        runner,
        path.name,
        engine,
        manifest.precision,
        manifest.labels,
        manifest.words,
        manifest.decision,
        manifest.checkpoint.get("sha256"),
    )


def open_reference(opened: OpenedModel, checkpoint: Path, threads: int | None = None) -> PyTorchRunner:
    """The PyTorch reference of an opened bundle, from the checkpoint that it was built from.

    Raises:
        CheckpointError: It was built from another one.
        EngineUnavailable: PyTorch is not installed.
    """
    runner = _load_reference(checkpoint, threads)
    if opened.checkpoint not in (None, file_sha256(checkpoint)) or runner.info.labels != opened.labels:
        raise CheckpointError(f"{opened.name} was built from another checkpoint than {checkpoint}; name that one")
    return runner


def _open_checkpoint(path: Path, threads: int | None) -> OpenedModel:
    runner = _load_reference(path, threads)
    info = runner.info
    hash_ = file_sha256(path)
    return OpenedModel(runner, path.name, "pytorch", "fp32", info.labels, info.words, info.decision, hash_)


def _load_reference(path: Path, threads: int | None) -> PyTorchRunner:
    try:
        from fer_edge.model.runner import load_reference
    except ImportError as error:
        raise EngineUnavailable(f'checkpoints need PyTorch ({error}); run: pip install "fer-edge[export]"') from error
    return load_reference(path, threads)
