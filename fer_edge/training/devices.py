"""Devices and processes of a run, and one-line errors with cause and next step for what fails in them."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from lightning_fabric import Fabric
from torch import distributed

from fer_edge._text import one_line
from fer_edge.errors import ConfigError, FerEdgeError
from fer_edge.training.config import TrainingConfig

# Messages of PyTorch's CPU allocators, which raise RuntimeError.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


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


@contextmanager
def convert_errors(config: TrainingConfig, memory_advice: str = "lower --batch") -> Iterator[None]:
    """Convert exceptions of PyTorch that a user can remedy to FerEdgeError.

    Args:
        config: Settings of the run.
        memory_advice: Next step if memory runs out.

    Raises:
        FerEdgeError: A failure of torch.compile, too little memory, or a lost process of the run.
    """
    try:
        yield
    except FerEdgeError:
        raise
    except Exception as error:
        message = _message(error, config, memory_advice)
        if message is None:
            raise
        raise FerEdgeError(message) from error


def _message(error: Exception, config: TrainingConfig, memory_advice: str) -> str | None:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = f"{type(error).__name__}: {one_line(str(error).splitlines()[0] if str(error) else '')}"
    if isinstance(cause, (MemoryError, torch.OutOfMemoryError)) or _is_memory_error(cause):
        return f"not enough memory to train, with batches of {config.batch} images; {memory_advice}"
    modules = [type(exception).__module__ for exception in (error, cause)]
    if config.compile and any(module.startswith(("torch._dynamo", "torch._inductor")) for module in modules):
        return f"torch.compile failed: {text}; install a C++ compiler such as g++, or leave out --compile"
    if config.processes > 1 and isinstance(cause, (RuntimeError, torch.distributed.DistError)):
        return (
            f"the connection to another process of this run was lost: {text}; see the errors of the other processes, "
            "then run it again"
        )
    return None


def _is_memory_error(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY)
