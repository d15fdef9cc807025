"""Checks of arguments, before anything is measured."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from fer_edge.bundle import Bundle
from fer_edge.engines.registry import get_engine
from fer_edge.errors import CheckpointError, ConfigError, EngineUnavailableError
from fer_edge.file_kind import describe_file


def check_device(engines: set[str], device: int | None) -> None:
    """Check that a GPU index was given only for engines that run on a GPU.

    Args:
        engines: Names of the engines to measure.
        device: CUDA index of the GPU; None if not given.

    Raises:
        ConfigError: All engines run on the CPU.
    """
    if device is not None and not any(get_engine(engine).for_gpus for engine in engines):
        names = ", ".join(sorted(engines))
        raise ConfigError(f"a device applies only to engines that run on a GPU, not to {names}; omit the device")


def check_parity_inputs(bundle: Bundle, checkpoint: Path | None, images: Path | None) -> None:
    """Check the inputs of the comparison with PyTorch, without importing PyTorch: its threads would be measured.

    Args:
        bundle: Bundle to measure.
        checkpoint: Checkpoint that the bundle was built from; None if not given.
        images: Images to compare on; None if not given.

    Raises:
        ConfigError: Only one of checkpoint and images was given.
        FerEdgeError: Missing or wrong checkpoint, missing images, or PyTorch is not installed.
    """
    if (checkpoint is None) != (images is None):
        raise ConfigError("the comparison with PyTorch needs a checkpoint and images; give both, or neither")
    if checkpoint is None or images is None:
        return
    from fer_edge.data.sources import image_set

    if not checkpoint.is_file():
        raise CheckpointError(f"no checkpoint at {checkpoint}; expected the file that the bundle was built from")
    content = describe_file(checkpoint)
    if content != "a fer-edge checkpoint":
        raise CheckpointError(f"{checkpoint} is {content}; expected the checkpoint that the bundle was built from")
    if find_spec("torch") is None:
        raise EngineUnavailableError(
            'the comparison with a checkpoint needs PyTorch; run: pip install "fer-edge[export]"'
        )
    image_set(images, bundle.manifest.labels, bundle.manifest.words)
