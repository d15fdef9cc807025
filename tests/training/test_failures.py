"""Exceptions of PyTorch become one-line errors with the next step."""

from __future__ import annotations

import pytest
import torch

from fer_edge._settings import convert
from fer_edge.errors import ConfigError, FerEdgeError
from fer_edge.training.config import TrainingConfig
from fer_edge.training.devices import convert_errors


class FailedCompilationError(RuntimeError):
    """Stand-in for exceptions of PyTorch's compiler, whose names differ between versions."""


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
            "was lost: RuntimeError: Connection",
        ),
    ],
)
def test_remediable_exceptions_are_converted(config: dict[str, object], error: Exception, message: str) -> None:
    with pytest.raises(FerEdgeError) as caught, convert_errors(convert(config, TrainingConfig, "training")):
        raise error
    assert message in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_other_exceptions_are_not_converted() -> None:
    for error in (
        RuntimeError("a mistake"),
        FailedCompilationError("torch.compile is not used"),
        ConfigError("a setting"),
    ):
        with pytest.raises(type(error), match=str(error)), convert_errors(TrainingConfig()):
            raise error
