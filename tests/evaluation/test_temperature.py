"""Temperature scaling: fits with a known temperature, folding, invalid inputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fer_edge.data.images import ImageSet
from fer_edge.errors import DataError, NonFiniteError
from fer_edge.evaluation.accuracy import Outputs, softmax
from fer_edge.evaluation.temperature import (
    TemperatureFit,
    check_images,
    fit_outputs,
    scaled_probabilities,
    with_temperature,
)
from fer_edge.model.heads import head_probabilities
from fer_edge.model.runner import PyTorchRunner
from tests.tiny_model import tiny_checkpoint

Labels = np.ndarray[Any, np.dtype[np.int64]]
FIT = TemperatureFit(1.7, 100, 1.0, 0.9, 0.1, 0.05, 0.06)


def sample(temperature: float, count: int = 10_000) -> Outputs:
    """Draw labels from a softmax, then multiply its logits by a temperature."""
    random = np.random.default_rng(0)
    logits = random.standard_normal((count, 5)) * 2
    true = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    scaled = (logits * temperature).astype(np.float32)
    return Outputs(true, scaled, None, softmax(scaled), ImageSet((), true), ())


def with_labels(outputs: Outputs, true: Labels) -> Outputs:
    """Replace the labels of outputs."""
    return replace(outputs, true=true, images=ImageSet((), true))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_fitted(temperature: float) -> None:
    fit = fit_outputs(sample(temperature), "label")
    assert fit.temperature == pytest.approx(temperature, rel=0.03)
    assert fit.error_after < 0.015 and fit.error_crossed < 0.017
    assert fit.likelihood_after <= fit.likelihood_before
    assert (fit.error_before > 0.05) == (temperature != 1.0)


@pytest.mark.parametrize("head", ["label", "mean"])
def test_the_fit_is_as_good_as_a_full_grid(head: Any) -> None:
    text = sample(0.7, 2_000).label_logits[:, ::-1].copy()
    outputs = replace(sample(2.0, 2_000), text_logits=text)
    rows = np.arange(len(outputs.true))

    def loss(temperature: float) -> float:
        return float(-np.log(scaled_probabilities(outputs, head, temperature)[rows, outputs.true]).mean())

    best = min(np.geomspace(0.2, 5, 645), key=loss)  # steps of half a percent
    fit = fit_outputs(outputs, head)
    assert fit.temperature == pytest.approx(best, rel=0.005)
    assert fit.likelihood_after <= loss(best) + 1e-6


def test_probabilities_match_those_of_the_model() -> None:
    random = np.random.default_rng(0)
    label, text = (random.standard_normal((2, 20, 5)) * 5).astype(np.float32)
    outputs = replace(sample(1.0, 20), label_logits=label, text_logits=text)
    for head in ("label", "text", "mean"):
        expected = head_probabilities(torch.from_numpy(label) / 1.7, torch.from_numpy(text) / 1.7, head).numpy()
        np.testing.assert_allclose(scaled_probabilities(outputs, head, 1.7), expected, atol=1e-6)


@pytest.mark.parametrize("head", ["mean", "label", "text"])
def test_a_folded_temperature_scales_the_probabilities(head: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 112, 112, 3), dtype=np.uint8)
    checkpoint = tiny_checkpoint(head=head)
    plain = PyTorchRunner(checkpoint).infer(images)
    true = np.zeros(4, np.int64)
    outputs = Outputs(true, plain.label_logits, plain.text_logits, plain.probabilities, ImageSet((), true), ())
    folded = with_temperature(checkpoint, FIT)
    assert folded.info.metrics["temperature"]["temperature"] == FIT.temperature
    expected = scaled_probabilities(outputs, checkpoint.info.head, FIT.temperature)
    np.testing.assert_allclose(PyTorchRunner(folded).infer(images).probabilities, expected, atol=1e-6)
    np.testing.assert_array_equal(PyTorchRunner(checkpoint).infer(images).probabilities, plain.probabilities)


def test_a_temperature_is_folded_without_text_head() -> None:
    checkpoint = tiny_checkpoint(text_head=False)
    folded = with_temperature(checkpoint, FIT)
    ratio = checkpoint.model.label_head.weight / folded.model.label_head.weight
    torch.testing.assert_close(ratio, torch.full_like(ratio, FIT.temperature))


@pytest.mark.parametrize(
    ("true", "message"),
    [
        (np.zeros(1, np.int64), "on 1 images, of which 0 classes have 10 or more; expected at least 50 images and two"),
        (np.zeros(200, np.int64), "on 200 images, of which 1 classes have 10 or more"),
        (np.repeat([0, 1], [195, 5]), "on 200 images, of which 1 classes have 10 or more"),
        (np.repeat([0, 1], 24), "on 48 images, of which 2 classes .* use a whole validation set, without --count"),
    ],
)
def test_too_few_images_or_classes_are_refused(true: Labels, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_images(true)
    with pytest.raises(DataError, match=message):
        fit_outputs(with_labels(sample(1.0, len(true)), true), "label")


def test_a_fit_at_the_limit_of_its_range_is_refused() -> None:
    outputs = sample(1.0, 200)
    with pytest.raises(DataError, match=r"ends at temperature 0\.2, the limit of .* 0\.2 to 5.* right on 200 of 200"):
        fit_outputs(with_labels(outputs, outputs.probabilities.argmax(axis=1)), "label")
    with pytest.raises(DataError, match=r"ends at temperature 5, the limit .* right on 0 of 200 images; use images"):
        fit_outputs(with_labels(outputs, outputs.probabilities.argmin(axis=1)), "label")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nonfinite_outputs_are_refused(value: float) -> None:
    outputs = sample(1.0, 200)
    outputs.label_logits[7, 1] = value
    with pytest.raises(NonFiniteError, match="the model's outputs are NaN or infinite"):
        fit_outputs(outputs, "label")
