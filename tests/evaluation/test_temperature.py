"""Temperatures that are known beforehand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fer_edge.errors import DataError, NonFiniteError
from fer_edge.evaluation.accuracy import Outputs
from fer_edge.evaluation.dataset import ImageSet
from fer_edge.evaluation.temperature import check_images, fit_temperature, scaled_probabilities, with_temperature
from fer_edge.model.runner import PyTorchRunner
from tests.tiny_model import tiny_checkpoint


def drawn(temperature: float, count: int = 20_000) -> Outputs:
    """Labels drawn from a softmax, whose logits are then multiplied by a temperature."""
    random = np.random.default_rng(0)
    logits = random.standard_normal((count, 5)) * 2
    gumbel = random.gumbel(size=logits.shape)
    scaled = (logits * temperature).astype(np.float32)
    true = (logits + gumbel).argmax(axis=1)
    return Outputs(true, scaled, None, torch.from_numpy(scaled).softmax(dim=1).numpy(), ImageSet((), true), ())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_planted_temperature_is_found(temperature: float) -> None:
    fit = fit_temperature(drawn(temperature), "label")
    assert fit.temperature == pytest.approx(temperature, rel=0.03)
    assert fit.error_after < 0.01 and fit.error_crossed < 0.012
    assert fit.likelihood_after <= fit.likelihood_before
    assert (fit.error_before > 0.05) == (temperature != 1.0)


@pytest.mark.parametrize("head", ["mean", "label", "text"])
def test_folding_gives_the_scaled_probabilities(head: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 112, 112, 3), dtype=np.uint8)
    checkpoint = tiny_checkpoint(head=head)
    plain = PyTorchRunner(checkpoint).infer(images)
    true = np.zeros(4, np.int64)
    outputs = Outputs(true, plain.label_logits, plain.text_logits, plain.probabilities, ImageSet((), true), ())
    fit = replace(fit_temperature(drawn(2.0, 500), "label"), temperature=1.7)
    folded = with_temperature(checkpoint, fit)
    assert folded.info.metrics["temperature"]["temperature"] == fit.temperature
    expected = scaled_probabilities(outputs, checkpoint.info.head, fit.temperature)
    np.testing.assert_allclose(PyTorchRunner(folded).infer(images).probabilities, expected, atol=1e-6)
    np.testing.assert_array_equal(PyTorchRunner(checkpoint).infer(images).probabilities, plain.probabilities)


def test_a_model_without_text_head_takes_a_temperature() -> None:
    checkpoint = tiny_checkpoint(text_head=False)
    fit = fit_temperature(drawn(2.0, 500), "label")
    folded = with_temperature(checkpoint, fit)
    ratio = checkpoint.model.label_head.weight / folded.model.label_head.weight
    torch.testing.assert_close(ratio, torch.full_like(ratio, fit.temperature))


def sharpened(outputs: Outputs, true: np.ndarray[Any, np.dtype[np.int64]]) -> Outputs:
    """The same images with other labels."""
    return replace(outputs, true=true, images=ImageSet((), true))


@pytest.mark.parametrize(
    ("true", "message"),
    [
        (np.zeros(1, np.int64), "on 1 images, of which 0 classes have 10 or more; expected at least 50 images and two"),
        (np.zeros(200, np.int64), "on 200 images, of which 1 classes have 10 or more"),
        (np.repeat([0, 1], [195, 5]), "on 200 images, of which 1 classes have 10 or more"),
        (np.repeat([0, 1], 24), "on 48 images, of which 2 classes .* use a whole validation set, without --limit"),
    ],
)
def test_too_few_images_or_classes_are_refused(true: np.ndarray[Any, np.dtype[np.int64]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_images(true)
    with pytest.raises(DataError, match=message):
        fit_temperature(sharpened(drawn(1.0, len(true)), true), "label")


def test_a_fit_at_the_edge_of_its_range_is_refused() -> None:
    outputs = drawn(1.0, 200)
    with pytest.raises(DataError, match=r"ends at temperature 0\.2, the edge of .* 0\.2 to 5.* right on 200 of 200"):
        fit_temperature(sharpened(outputs, outputs.probabilities.argmax(axis=1)), "label")
    with pytest.raises(DataError, match=r"ends at temperature 5, the edge .* right on 0 of 200 images; use images"):
        fit_temperature(sharpened(outputs, outputs.probabilities.argmin(axis=1)), "label")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_refused(value: float) -> None:
    outputs = drawn(1.0, 200)
    outputs.label_logits[7, 1] = value
    with pytest.raises(NonFiniteError, match="the model's outputs are NaN or infinite"):
        fit_temperature(outputs, "label")
