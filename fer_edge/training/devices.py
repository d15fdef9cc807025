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
    """The devices to train on, launched.

    Raises:
        ConfigError: Fabric does not know the accelerator, or this machine has not enough of it.
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


def _leave_process_group() -> None:
    # Gloo's threads, which Fabric leaves running, may otherwise drop a tensor while the interpreter goes down, and
    # abort the process after its work is done (pytorch pull request 179291). They are joined when the last reference
    # to the group goes: the trainer's module holds one, in a cycle.
    gc.collect()
    if distributed.is_initialized():
        distributed.destroy_process_group()
    gc.collect()
