"""Trial run of a model before its bundle is written: outputs have to be finite.

The outputs of a diverged training overflow although the weights are finite. A few synthetic images reveal it.
"""

from __future__ import annotations

import numpy as np

from fer_edge.choices import DEFAULT_ENGINE
from fer_edge.engines.base import IMAGE_SIZE, Artifact, Images, Prediction, Runner, RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.errors import NonFiniteError
from fer_edge.model.checkpoint import Checkpoint
from fer_edge.model.runner import PyTorchRunner


def check_reference(checkpoint: Checkpoint) -> None:
    """Check the outputs of a checkpoint in PyTorch on the test images.

    Raises:
        NonFiniteError: NaN or infinity in an output.
    """
    with PyTorchRunner(checkpoint) as reference:
        _check("the model", reference)


def check_graph(model: bytes) -> None:
    """Check the outputs of a typed ONNX model on the test images.

    Raises:
        NonFiniteError: NaN or infinity in an output: constants or activations overflow although those of PyTorch do
            not.
    """
    with get_engine(DEFAULT_ENGINE).load(Artifact(model, None, 1), RunOptions()) as runner:
        _check("the exported graph", runner)


def synthetic_images() -> dict[str, Images]:
    """Return the test images by name: uint8, (112, 112, 3)."""
    shape = (IMAGE_SIZE, IMAGE_SIZE, 3)
    ramp = np.linspace(0, 255, IMAGE_SIZE).astype(np.uint8)
    return {
        "black": np.zeros(shape, np.uint8),
        "white": np.full(shape, 255, np.uint8),
        "grey ramp": np.broadcast_to(ramp[:, None], shape).copy(),
        "noise": np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8),
    }


def _check(subject: str, runner: Runner) -> None:
    for name, image in synthetic_images().items():
        if not _is_finite(runner.infer(image[None], checked=False)):
            raise NonFiniteError(
                f"{subject} gives NaN or infinity for a test image ({name}): the weights are finite, but the "
                "activations overflow; train the model again with a lower learning rate or with gradient clipping, or "
                "use an earlier checkpoint"
            )


def _is_finite(prediction: Prediction) -> bool:
    return all(np.isfinite(values).all() for values in prediction if values is not None)
