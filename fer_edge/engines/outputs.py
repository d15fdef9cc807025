"""Outputs of a deploy graph, and their checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fer_edge.errors import EngineError, NonFiniteError

Floats = npt.NDArray[np.float32]
OUTPUT_NAMES = ("label_logits", "text_logits", "probabilities")


class Prediction(NamedTuple):
    """Outputs for a batch of N images. The arrays belong to the caller: a runner never overwrites them."""

    label_logits: Floats  # (N, classes)
    text_logits: Floats | None  # (N, classes); None for a model without a text head
    probabilities: Floats  # (N, classes); each row sums to 1


def join(predictions: Sequence[Prediction]) -> Prediction:
    """Return the outputs of several batches as those of one."""
    label, text, probabilities = zip(*predictions, strict=True)
    joined_text = None if text[0] is None else np.concatenate(text)
    return Prediction(np.concatenate(label), joined_text, np.concatenate(probabilities))


def check_outputs(shapes: Mapping[str, Sequence[object]]) -> None:
    """Check that a model has the outputs of a deploy graph.

    Args:
        shapes: Output shapes by name. A non-integer dimension, or an empty shape, is unknown.

    Raises:
        EngineError: Missing label logits or probabilities, or outputs with different numbers of classes.
    """
    if not {"label_logits", "probabilities"} <= set(shapes):
        raise EngineError(
            f"the model has outputs {', '.join(shapes) or '(none)'}; expected label_logits, probabilities and, with a "
            "text head, text_logits: build the bundle again"
        )
    outputs = {name: tuple(shapes[name]) for name in OUTPUT_NAMES if shapes.get(name)}
    widths = {shape[1:] for shape in outputs.values() if isinstance(shape[-1], int) or len(shape) != 2}
    if len(widths) > 1 or any(len(width) != 1 for width in widths):
        described = ", ".join(f"{name} {shape}" for name, shape in outputs.items())
        raise EngineError(
            f"the model's outputs are {described}; expected the same (N, classes) for all: build the bundle again"
        )


def check_prediction(prediction: Prediction, count: int, title: str = "the engine") -> None:
    """Check that outputs have one row per image and finite values.

    Args:
        prediction: Outputs of a batch.
        count: Number of images in the batch.
        title: Name of the engine in error messages.

    Raises:
        EngineError: The number of rows of an output differs from the number of images.
        NonFiniteError: NaN or infinity in an output.
    """
    for name, values in zip(OUTPUT_NAMES, prediction, strict=True):
        if values is None:
            continue
        if len(values) != count:
            raise EngineError(
                f"{title} returned {len(values)} rows of {name} for {count} images: the model has a fixed batch size; "
                "build the bundle again"
            )
        if np.count_nonzero(np.isfinite(values)) != values.size:
            rows = np.isfinite(values).reshape(count, -1).all(axis=1)
            raise NonFiniteError(
                f"the model's outputs are NaN or infinite for image {int(rows.argmin()) + 1} of the batch of {count} "
                f"({name}): its weights or activations overflow; use another checkpoint, or build the bundle in fp32"
            )
