"""Temperature scaling (Guo et al., ICML 2017): probabilities that are right as often as they say.

One factor divides the logits of both heads. It never changes the top-1 label of a single head, and it is folded into
the weights: into the label head's linear and the scale of the text head's cosine. Graph and engines know nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from fer_edge.engines.base import Floats
from fer_edge.errors import DataError, NonFiniteError
from fer_edge.evaluation.accuracy import Outputs
from fer_edge.evaluation.dataset import Labels
from fer_edge.evaluation.reliability import expected_calibration_error
from fer_edge.manifest import Head
from fer_edge.model.checkpoint import Checkpoint
from fer_edge.model.ferformer import FERFormer
from fer_edge.model.heads import decide

CANDIDATES = np.geomspace(0.2, 5, 645)  # half a percent apart; a grid, since two averaged heads need not be convex
SMALLEST = 1e-12
LEAST_IMAGES = 50  # that a fit takes
LEAST_OF_CLASS = 10  # images of a class, for it to count among the two or more that a fit takes


@dataclass(frozen=True)
class TemperatureFit:
    """The temperature of least negative log-likelihood, and what it changes."""

    temperature: float  # logits are divided by it
    images: int
    likelihood_before: float  # mean negative log-likelihood of the true label, nats
    likelihood_after: float
    error_before: float  # expected calibration error, 0 to 1
    error_after: float
    error_crossed: float  # after, where each half of the images has the temperature that the other half chose


def scaled_probabilities(outputs: Outputs, head: Head, temperature: float) -> Floats:
    """What the model would give with its logits divided by a temperature, (N, classes)."""
    label = torch.from_numpy(outputs.label_logits) / temperature
    text = None if outputs.text_logits is None else torch.from_numpy(outputs.text_logits) / temperature
    probabilities: Floats = decide(label, text, head).numpy()
    return probabilities


def check_images(true: Labels) -> None:
    """Refuse a set of images that a temperature cannot be fitted on.

    Args:
        true: Label of each image, (N,).

    Raises:
        DataError: There are too few images, or too few of a second class.
    """
    classes = np.unique(true, return_counts=True)[1]
    enough = int((classes >= LEAST_OF_CLASS).sum())
    if len(true) < LEAST_IMAGES or enough < 2:
        raise DataError(
            f"a temperature cannot be fitted on {len(true)} images, of which {enough} classes have {LEAST_OF_CLASS} or "
            f"more; expected at least {LEAST_IMAGES} images and two such classes: use a whole validation set, without "
            "--limit"
        )


def fit_temperature(outputs: Outputs, head: Head) -> TemperatureFit:
    """The temperature under which the true labels are likeliest.

    Raises:
        DataError: There are too few images or classes, or the likeliest temperature is beyond the range of candidates.
        NonFiniteError: An output is NaN or infinite.
    """
    check_images(outputs.true)
    if not all(
        np.isfinite(logits).all() for logits in (outputs.label_logits, outputs.text_logits) if logits is not None
    ):
        raise NonFiniteError(
            "the model's outputs are NaN or infinite; take a checkpoint from before training went wrong"
        )
    everything = np.arange(len(outputs.true))
    temperature = _likeliest(outputs, head, everything)
    if temperature in (CANDIDATES[0], CANDIDATES[-1]):
        right = int((outputs.probabilities.argmax(axis=1) == outputs.true).sum())
        raise DataError(
            f"the fit ends at temperature {temperature:g}, the edge of its range {CANDIDATES[0]:g} to "
            f"{CANDIDATES[-1]:g}, and means nothing: the model is right on {right} of {len(outputs.true)} images; use "
            "images that it was not trained on, of all its labels"
        )
    before, after = (scaled_probabilities(outputs, head, value) for value in (1.0, temperature))
    crossed = after.copy()
    for mine, other in ((everything[::2], everything[1::2]), (everything[1::2], everything[::2])):
        crossed[mine] = scaled_probabilities(outputs, head, _likeliest(outputs, head, other))[mine]
    return TemperatureFit(
        temperature,
        len(outputs.true),
        _negative_log_likelihood(before, outputs.true),
        _negative_log_likelihood(after, outputs.true),
        *(expected_calibration_error(probabilities, outputs.true) for probabilities in (before, after, crossed)),
    )


def _likeliest(outputs: Outputs, head: Head, images: Labels) -> float:
    """The candidate of least negative log-likelihood on some of the images."""

    def loss(temperature: float) -> float:
        return _negative_log_likelihood(scaled_probabilities(outputs, head, temperature)[images], outputs.true[images])

    return min((float(candidate) for candidate in CANDIDATES), key=loss)


def _negative_log_likelihood(probabilities: Floats, true: Labels) -> float:
    of_true = probabilities[np.arange(len(true)), true]
    return float(-np.log(np.maximum(of_true, SMALLEST)).mean())


def with_temperature(checkpoint: Checkpoint, fit: TemperatureFit) -> Checkpoint:
    """A checkpoint with the temperature folded in, and the fit among its metrics."""
    config = checkpoint.info.config
    if config.text_head:
        config = replace(config, text_scale=config.text_scale / fit.temperature)
    model = FERFormer(config).eval()
    model.load_state_dict(checkpoint.model.state_dict())
    with torch.no_grad():
        for parameter in model.label_head.parameters():
            parameter.div_(fit.temperature)
    metrics = {**checkpoint.info.metrics, "temperature": vars(fit)}
    return Checkpoint(model, replace(checkpoint.info, config=config, metrics=metrics))
