"""Runners by file: a bundle's engine, or a checkpoint's PyTorch reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fer_edge.bundle import Bundle
from fer_edge.engines.base import Runner, RunOptions
from fer_edge.errors import ConfigError, EngineUnavailable


@dataclass(frozen=True)
class OpenedModel:
    """A runner and what its file says about the labels."""

    runner: Runner
    name: str
    engine: str
    precision: str
    labels: tuple[str, ...]
    words: tuple[str, ...]


def open_model(path: Path, engine: str | None = None, threads: int | None = None) -> OpenedModel:
    """Open a bundle (`.fer`) or a checkpoint (`.safetensors`, run by PyTorch).

    Raises:
        ConfigError: The file is neither.
        EngineUnavailable: The engine, or torch for a checkpoint, is not installed.
    """
    if path.suffix == ".safetensors":
        if engine not in (None, "pytorch"):
            raise ConfigError(f"{path} is a checkpoint, which only pytorch runs; build a bundle for {engine}")
        return _open_checkpoint(path, threads)
    if path.suffix != ".fer":
        raise ConfigError(f"{path} is neither a bundle (.fer) nor a checkpoint (.safetensors)")
    bundle = Bundle.open(path)
    runner = bundle.runner(engine, RunOptions(threads=threads))
    manifest = bundle.manifest
    name = bundle.entry(engine).engine
    return OpenedModel(runner, path.name, name, manifest.precision, manifest.labels, manifest.words)


def _open_checkpoint(path: Path, threads: int | None) -> OpenedModel:
    try:
        from fer_edge.model.runner import load_reference
    except ImportError as error:
        raise EngineUnavailable(f'checkpoints need PyTorch ({error}); run: pip install "fer-edge[export]"') from error
    runner = load_reference(path, threads)
    return OpenedModel(runner, path.name, "pytorch", "fp32", runner.info.labels, runner.info.words)
