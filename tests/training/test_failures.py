"""Failures of torch, as one line with the next step."""

from __future__ import annotations

import pytest
import torch

from fer_edge.errors import ConfigError, FerEdgeError
from fer_edge.training.config import TrainingConfig
from fer_edge.training.failures import explained


class FailedCompilationError(RuntimeError):
    """As those of torch's compiler, whose names differ between versions."""


FailedCompilationError.__module__ = "torch._inductor.exc"


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({}, torch.OutOfMemoryError("CUDA out of memory. Tried\nto"), "with batches of 128 images; lower --batch"),
        ({}, MemoryError(), "not enough memory to train"),
        ({}, RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), "not enough memory to train"),
        (
            {"compile": True},
            FailedCompilationError("no\n\nSet TORCH"),
            "compile failed: FailedCompilationError: no; install",
        ),
        (
            {"devices": 2},
            RuntimeError("Connection closed by peer [::1]:1"),
            "lost each other: RuntimeError: Connection",
        ),
    ],
)
def test_what_a_user_can_cure_is_explained(config: dict[str, object], error: Exception, message: str) -> None:
    with pytest.raises(FerEdgeError) as caught, explained(TrainingConfig.from_dict(config)):
        raise error
    assert message in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_other_errors_pass() -> None:
    for error in (RuntimeError("a mistake"), FailedCompilationError("asked for by nobody"), ConfigError("ours")):
        with pytest.raises(type(error), match=str(error)), explained(TrainingConfig()):
            raise error
