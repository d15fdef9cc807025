"""Trial run of a model before its bundle is written: outputs have to be finite.

The outputs of a diverged training overflow although the weights are finite. A few synthetic images reveal it.
"""

from __future__ import annotations

import numpy as np

from fer_edge.choices import DEFAULT_ENGINE
from fer_edge.engines.base import IMAGE_SIZE, Artifact, Images, Runner, RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.errors import NonFiniteError
from fer_edge.graph.typed_graph import TypedGraph


def check_graph(graph: TypedGraph) -> None:
    """Check the outputs of a graph on the test images.

    Raises:
        NonFiniteError: NaN or infinity in an output: constants or activations overflow although those of PyTorch do
            not.
    """
    check_runner(
        "the exported graph", get_engine(DEFAULT_ENGINE).load(Artifact(graph.to_bytes(), None, 1), RunOptions())
    )


def check_runner(subject: str, runner: Runner) -> None:
    """Check the outputs of a runner on the test images, and close it.

    Args:
        subject: What runs, at the start of the message: "the model".
        runner: Runner to check.

    Raises:
        NonFiniteError: NaN or infinity in an output.
    """
    with runner:
        for name, image in synthetic_images().items():
            outputs = runner.infer(image[None], checked=False)
            if not all(np.isfinite(values).all() for values in outputs if values is not None):
                raise NonFiniteError(
                    f"{subject} gives NaN or infinity for a test image ({name}): the weights are finite, but the "
                    "activations overflow; train the model again with a lower learning rate or with gradient "
                    "clipping, or use an earlier checkpoint"
                )


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
