"""Failures of torch while training, each as one line with its cause and the next step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fer_edge._text import one_line
from fer_edge.errors import FerEdgeError
from fer_edge.training.config import TrainingConfig

# torch's CPU allocators raise RuntimeError.
_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
)  # torch's CPU allocators raise RuntimeError


@contextmanager
def explained(config: TrainingConfig, memory: str = "lower --batch") -> Iterator[None]:
    """Turn failures of torch that a user can remedy into errors of ours.

    Args:
        config: Of the run.
        memory: Next step where memory runs out.

    Raises:
        FerEdgeError: torch.compile failed, memory ran out, or another process of the run is gone.
    """
    try:
        yield
    except FerEdgeError:
        raise
    except Exception as error:
        message = _explanation(error, config, memory)
        if message is None:
            raise
        raise FerEdgeError(message) from error


def _explanation(error: Exception, config: TrainingConfig, memory: str) -> str | None:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = f"{type(error).__name__}: {one_line(str(error).splitlines()[0] if str(error) else '')}"
    if isinstance(cause, (MemoryError, torch.OutOfMemoryError)) or _says(cause, _NO_MEMORY):
        return f"not enough memory to train, with batches of {config.batch} images; {memory}"
    modules = {type(one).__module__ for one in (error, cause)}
    if config.compile and any(module.startswith(("torch._dynamo", "torch._inductor")) for module in modules):
        return f"torch.compile failed: {text}; install a C++ compiler such as g++, or leave out --compile"
    if config.processes > 1 and isinstance(cause, (RuntimeError, torch.distributed.DistError)):
        return f"the processes of this run lost each other: {text}; see what the others say, then run it again"
    return None


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)
