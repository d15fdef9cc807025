"""Devices and processes of a run."""

from __future__ import annotations

import atexit
import gc
from typing import Literal

from lightning_fabric import Fabric
from torch import distributed

from fer_edge._text import one_line
from fer_edge.errors import ConfigError
from fer_edge.training.config import TrainingConfig


def make_fabric(config: TrainingConfig) -> Fabric:
    """Make a Fabric for the configured devices, and launch its processes.

    Raises:
        ConfigError: An accelerator that is unknown or not available, or too few devices.
    """
    precision: Literal["bf16-mixed", "32-true"] = "bf16-mixed" if config.amp else "32-true"
    try:
        fabric = Fabric(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.nodes,
            strategy="ddp" if config.processes > 1 else "auto",
            precision=precision,
        )
        fabric.launch()
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"accelerator {config.accelerator!r} cannot be used: {one_line(str(error))} Try: auto"
        ) from error
    if config.processes > 1:
        atexit.register(_leave_process_group)
    return fabric


def is_first_process() -> bool:
    """Return whether this process is the first of its run, which writes files and messages."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def _leave_process_group() -> None:
    # Fabric leaves Gloo's threads running. They may release a tensor while the interpreter shuts down, which aborts the
    # process (PyTorch pull request 179291). The threads end with the last reference to the process group, and the
    # trainer's module has one in a reference cycle.
    gc.collect()
    if distributed.is_initialized():
        distributed.destroy_process_group()
    gc.collect()
