"""Check that a model gives numbers, before a bundle of it is written.

Finite weights do not make finite outputs: activations of a diverged training overflow. A few images show it.
"""

from __future__ import annotations

import numpy as np

from fer_edge.engines.base import IMAGE_SIZE, Artifact, Images, Prediction, Runner, RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.errors import NonFiniteError
from fer_edge.model.checkpoint import Checkpoint
from fer_edge.model.runner import PyTorchRunner

ENGINE = "openvino"  # runs every typed graph, and is part of the core


def check_reference(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint whose outputs in PyTorch are NaN or infinite for one of a few made-up images.

    Raises:
        NonFiniteError: They are.
    """
    with PyTorchRunner(checkpoint) as reference:
        _check("the model", reference)


def check_graph(model: bytes) -> None:
    """Refuse a typed ONNX whose outputs are NaN or infinite for one of a few made-up images.

    Raises:
        NonFiniteError: They are: its constants or activations overflow where those of PyTorch do not.
    """
    with get_engine(ENGINE).load(Artifact(model, None, 1), RunOptions()) as runner:
        _check("the exported graph", runner)


def probes() -> dict[str, Images]:
    """Images to try a model on, by name: uint8 (112, 112, 3)."""
    shape = (IMAGE_SIZE, IMAGE_SIZE, 3)
    ramp = np.linspace(0, 255, IMAGE_SIZE).astype(np.uint8)
    return {
        "black": np.zeros(shape, np.uint8),
        "white": np.full(shape, 255, np.uint8),
        "grey ramp": np.broadcast_to(ramp[:, None], shape).copy(),
        "noise": np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8),
    }


def _check(what: str, runner: Runner) -> None:
    for name, image in probes().items():
        if not _is_finite(runner.infer(image[None], checked=False)):
            raise NonFiniteError(
                f"{what} gives NaN or infinity for a test image ({name}): the weights are finite, but the activations "
                "overflow; train the model again with a lower learning rate or with gradient clipping, or take an "
                "earlier checkpoint"
            )


def _is_finite(prediction: Prediction) -> bool:
    return all(np.isfinite(values).all() for values in prediction if values is not None)
