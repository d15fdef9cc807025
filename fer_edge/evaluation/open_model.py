"""Runners by file: a bundle's engine, or a checkpoint's PyTorch reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fer_edge._files import file_sha256
from fer_edge.bundle import Bundle
from fer_edge.engines.base import Runner, RunOptions
from fer_edge.errors import BundleError, CheckpointError, ConfigError, EngineUnavailableError
from fer_edge.file_kind import describe_file
from fer_edge.manifest import Head

if TYPE_CHECKING:
    from fer_edge.model.runner import PyTorchRunner


@dataclass(frozen=True)
class OpenedModel:
    """A runner and what its file says about labels and head."""

    runner: Runner
    name: str
    engine: str
    precision: str
    labels: tuple[str, ...]
    words: tuple[str, ...]
    head: Head
    checkpoint: str | None  # SHA-256 of the checkpoint, or of that which a bundle was built from


def model_format(path: Path) -> Literal["bundle", "checkpoint"]:
    """Tell what a model's file is, by its content; its name decides only where a damaged file has lost what it was.

    Raises:
        BundleError: There is no such file, or it is something else; the message says what.
    """
    if not path.exists():
        raise BundleError(f"no file at {path}; expected a bundle (.fer) or a checkpoint (.safetensors)")
    described = describe_file(path)
    if described in ("a fer-edge bundle", "a fer-edge checkpoint"):
        return "bundle" if described == "a fer-edge bundle" else "checkpoint"
    if path.suffix == ".fer" and "zip archive" in described:
        return "bundle"
    if path.suffix == ".safetensors" and "damaged safetensors" in described:
        return "checkpoint"
    raise BundleError(f"{path} is {described}; expected a bundle (.fer) or a checkpoint (.safetensors)")


def open_model(
    path: Path,
    engine: str | None = None,
    threads: int | None = None,
    device: int = 0,
    *,
    allow_host_code: bool = False,
) -> OpenedModel:
    """Open a bundle, or a checkpoint, which PyTorch runs; the file's content tells which it is.

    Args:
        path: The file.
        engine: One of a bundle's engines; the first that runs on this machine if not given.
        threads: CPU threads of one inference; if not given, the engine's choice.
        device: Which GPU a bundle's engine runs on, counted from 0; for engines that have one.
        allow_host_code: Run native code that a version-compatible TensorRT engine brings with it; only for a bundle
            whose origin you trust.

    Raises:
        ConfigError: The engine does not run such a file.
        BundleError: The file is missing or neither; the bundle cannot be read, does not fit this machine, or its labels
            do not fit its model.
        EngineUnavailableError: The engine, or torch for a checkpoint, is not installed.
    """
    if model_format(path) == "checkpoint":
        if engine not in (None, "pytorch"):
            raise ConfigError(f"{path} is a checkpoint, which only pytorch runs; build a bundle for {engine}")
        return _open_checkpoint(path, threads)
    if engine == "pytorch":
        raise ConfigError(f"{path} is a bundle, which pytorch does not run; name its checkpoint")
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
        manifest.head,
        manifest.checkpoint.get("sha256"),
    )


def open_reference(opened: OpenedModel, checkpoint: Path, threads: int | None = None) -> PyTorchRunner:
    """The PyTorch reference of an opened bundle, from the checkpoint that it was built from.

    Raises:
        CheckpointError: It was built from another one.
        EngineUnavailableError: PyTorch is not installed.
    """
    runner = _load_reference(checkpoint, threads)
    if opened.checkpoint not in (None, file_sha256(checkpoint)) or runner.info.labels != opened.labels:
        raise CheckpointError(f"{opened.name} was built from another checkpoint than {checkpoint}; name that one")
    return runner


def _open_checkpoint(path: Path, threads: int | None) -> OpenedModel:
    runner = _load_reference(path, threads)
    info = runner.info
    hash_ = file_sha256(path)
    return OpenedModel(runner, path.name, "pytorch", "fp32", info.labels, info.words, info.head, hash_)


def _load_reference(path: Path, threads: int | None) -> PyTorchRunner:
    try:
        from fer_edge.model.runner import load_reference
    except ImportError as error:
        raise EngineUnavailableError(
            f'checkpoints need PyTorch ({error}); run: pip install "fer-edge[export]"'
        ) from error
    return load_reference(path, threads)
