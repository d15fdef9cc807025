"""Temperature scaling (Guo et al., ICML 2017): one factor that calibrates a model's probabilities.

The logits of both heads are divided by the temperature. The top-1 label of a single head never changes. The temperature
is folded into the weights (the label head's linear layer and the scale of the text head's cosine), so graphs and
engines need no change.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_edge._files import as_path, check_output
from fer_edge._require import require
from fer_edge.choices import Head, LayoutName, Split
from fer_edge.data.images import Labels
from fer_edge.data.sources import image_set
from fer_edge.engines.base import Floats
from fer_edge.errors import DataError, NonFiniteError
from fer_edge.evaluation.accuracy import Outputs, run_all, softmax
from fer_edge.evaluation.reliability import expected_calibration_error
from fer_edge.progress import Progress, silent
from fer_edge.results import Result, Table
from fer_edge.shipped import path_or_shipped

if TYPE_CHECKING:
    from fer_edge.model.checkpoint import Checkpoint

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.2, 5.0
CANDIDATES = 41  # temperatures of each pass: steps of 8 %, then of 0.4 %
MIN_PROBABILITY = 1e-12  # avoids the logarithm of 0
MIN_IMAGES = 50
MIN_CLASS_IMAGES = 10  # images that a class needs to count as one of the two required classes


@dataclass(frozen=True)
class TemperatureFit:
    """Temperature of the smallest negative log-likelihood, and its effect."""

    temperature: float  # divisor of the logits
    images: int
    likelihood_before: float  # mean negative log-likelihood of the true label, nats
    likelihood_after: float
    error_before: float  # expected calibration error, 0 to 1
    error_after: float
    error_crossed: float  # after, each half of the images with the temperature fitted on the other half


@dataclass(frozen=True)
class TemperatureResult(Result):
    """Result of `fit_temperature`: the checkpoint that was written, and the fit."""

    checkpoint: Path
    fit: TemperatureFit

    def tables(self) -> Sequence[Table]:
        fit = self.fit
        rows = (
            ("negative log-likelihood", f"{fit.likelihood_before:.4f}", f"{fit.likelihood_after:.4f}"),
            ("calibration error", f"{fit.error_before:.4f}", f"{fit.error_after:.4f}"),
            ("calibration error, cross-validated on halves", "-", f"{fit.error_crossed:.4f}"),
        )
        title = f"temperature {fit.temperature:.3f}, fitted on {fit.images} images"
        return (Table(title, ("figure", "before", "after"), rows),)

    def notes(self) -> Sequence[str]:
        return (f"wrote {self.checkpoint}",)

    def to_dict(self) -> dict[str, Any]:
        return {"checkpoint": str(self.checkpoint), **asdict(self.fit)}


def fit_temperature(
    checkpoint: str | os.PathLike[str],
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    split: Split | None = None,
    layout: LayoutName = "auto",
    half: bool = False,
    threads: int | None = None,
    count: int | None = None,
    progress: Progress = silent,
) -> TemperatureResult:
    """Fit a checkpoint's temperature, and write a checkpoint that includes it.

    Args:
        checkpoint: Checkpoint, or "edge", the shipped one.
        data: Labelled images that the model was not trained on.
        out: Checkpoint to write (.safetensors).
        split: Split of a data set that has splits; "valid" by default.
        layout: Layout of the data set; "auto" detects it.
        half: Whether to store weights as float16.
        threads: Number of CPU threads; PyTorch's choice by default.
        count: Number of images to use, evenly spread; all by default.
        progress: Progress display.

    Raises:
        CheckpointError: Unreadable checkpoint.
        ConfigError: A split of images without splits.
        DataError: Unlabelled images, too few images or classes, or a fit at the limit of the search range.
        NonFiniteError: NaN or infinity in outputs, or a weight beyond float16's range.
        FerEdgeError: An output that cannot be written, or another failure.
    """
    path, folder = path_or_shipped("checkpoint", as_path(checkpoint, "the checkpoint")), as_path(data, "the data set")
    out = as_path(out, "the output")
    check_output(out, path, folder)
    require("torch", "export", "fitting a temperature")
    from fer_edge.model.checkpoint import Checkpoint
    from fer_edge.model.runner import load_reference

    runner = load_reference(path, threads)
    info = runner.info
    images = image_set(folder, info.labels, info.words, split, layout).limit(count)
    images.log_left_out()
    check_images(images.required_labels)  # before the model runs
    with runner, progress("running", len(images)) as advance:
        outputs = run_all(runner, images, advance)
    fit = fit_outputs(outputs, info.head)
    with_temperature(Checkpoint(runner.model, info), fit).save(out, half=half)
    return TemperatureResult(out, fit)


def scaled_probabilities(outputs: Outputs, head: Head, temperature: float) -> Floats:
    """Return a head's probabilities with the logits divided by a temperature, (N, classes).

    See `fer_edge.model.heads.head_probabilities`, here without PyTorch.
    """
    divisor = np.float32(temperature)
    if outputs.text_logits is None or head == "label":
        return softmax(outputs.label_logits / divisor)
    text = softmax(outputs.text_logits / divisor)
    return text if head == "text" else (softmax(outputs.label_logits / divisor) + text) * np.float32(0.5)


def check_images(true: Labels) -> None:
    """Check that there are enough images and classes for a fit.

    Args:
        true: Label of each image, (N,).

    Raises:
        DataError: Too few images, or fewer than two classes with enough images.
    """
    sizes = np.unique(true, return_counts=True)[1]
    classes = int((sizes >= MIN_CLASS_IMAGES).sum())
    if len(true) < MIN_IMAGES or classes < 2:
        raise DataError(
            f"a temperature cannot be fitted on {len(true)} images, of which {classes} classes have "
            f"{MIN_CLASS_IMAGES} or more; expected at least {MIN_IMAGES} images and two such classes: use a whole "
            "validation set, without --count"
        )


def fit_outputs(outputs: Outputs, head: Head) -> TemperatureFit:
    """Fit the temperature that minimises the negative log-likelihood of the true labels.

    Args:
        outputs: Logits and labels of the images.
        head: Head whose probabilities are calibrated.

    Raises:
        DataError: Too few images or classes, or a fit at the limit of the search range.
        NonFiniteError: NaN or infinity in the logits.
    """
    check_images(outputs.true)
    if not all(
        np.isfinite(logits).all() for logits in (outputs.label_logits, outputs.text_logits) if logits is not None
    ):
        raise NonFiniteError("the model's outputs are NaN or infinite; use a checkpoint from before training diverged")
    temperature = _search(outputs, head, slice(None))
    if temperature in (MIN_TEMPERATURE, MAX_TEMPERATURE):
        correct = int((outputs.probabilities.argmax(axis=1) == outputs.true).sum())
        raise DataError(
            f"the fit ends at temperature {temperature:g}, the limit of its range {MIN_TEMPERATURE:g} to "
            f"{MAX_TEMPERATURE:g}, and is not valid: the model is right on {correct} of {len(outputs.true)} images; "
            "use images that it was not trained on, of all its labels"
        )
    before, after = (scaled_probabilities(outputs, head, value) for value in (1.0, temperature))
    crossed = np.empty_like(after)
    for half, other in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        crossed[half] = scaled_probabilities(outputs, head, _search(outputs, head, other))[half]
    return TemperatureFit(
        temperature,
        len(outputs.true),
        _negative_log_likelihood(before, outputs.true),
        _negative_log_likelihood(after, outputs.true),
        *(expected_calibration_error(probabilities, outputs.true) for probabilities in (before, after, crossed)),
    )


def _search(outputs: Outputs, head: Head, images: slice) -> float:
    """Search the best temperature for some images: a coarse pass over the range, then a fine one around its best.

    The coarse pass covers the whole range because the loss of two averaged heads need not be convex.
    """
    text = None if outputs.text_logits is None else outputs.text_logits[images]
    part = replace(outputs, true=outputs.true[images], label_logits=outputs.label_logits[images], text_logits=text)

    def loss(temperature: float) -> float:
        return _negative_log_likelihood(scaled_probabilities(part, head, temperature), part.true)

    coarse = np.geomspace(MIN_TEMPERATURE, MAX_TEMPERATURE, CANDIDATES)
    best = int(np.argmin([loss(temperature) for temperature in coarse]))
    fine = np.geomspace(coarse[max(best - 1, 0)], coarse[min(best + 1, CANDIDATES - 1)], CANDIDATES)
    return _minimum(loss, fine)


def _minimum(loss: Callable[[float], float], candidates: Floats) -> float:
    return min((float(candidate) for candidate in candidates), key=loss)


def _negative_log_likelihood(probabilities: Floats, true: Labels) -> float:
    true_class = probabilities[np.arange(len(true)), true]
    return float(-np.log(np.maximum(true_class, MIN_PROBABILITY)).mean())


def with_temperature(checkpoint: Checkpoint, fit: TemperatureFit) -> Checkpoint:
    """Fold a temperature into a copy of a checkpoint, and add the fit to its metrics."""
    import torch

    from fer_edge.model.ferformer import FERFormer

    config = checkpoint.info.config
    if config.text_head:
        config = replace(config, text_scale=config.text_scale / fit.temperature)
    model = FERFormer(config).eval()
    model.load_state_dict(checkpoint.model.state_dict())
    with torch.no_grad():
        for parameter in model.label_head.parameters():
            parameter.div_(fit.temperature)
    metrics = {**checkpoint.info.metrics, "temperature": asdict(fit)}
    return replace(checkpoint, model=model, info=replace(checkpoint.info, config=config, metrics=metrics))
