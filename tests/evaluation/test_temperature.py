"""Temperatures that are known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fer_edge.evaluation.accuracy import Outputs
from fer_edge.evaluation.dataset import ImageSet
from fer_edge.evaluation.temperature import fit_temperature, scaled_probabilities, with_temperature
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


@pytest.mark.parametrize("decision", ["mean", "label", "text"])
def test_folding_gives_the_scaled_probabilities(decision: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 112, 112, 3), dtype=np.uint8)
    checkpoint = tiny_checkpoint(decision=decision)
    plain = PyTorchRunner(checkpoint).infer(images)
    true = np.zeros(4, np.int64)
    outputs = Outputs(true, plain.label_logits, plain.text_logits, plain.probabilities, ImageSet((), true), ())
    fit = fit_temperature(outputs, checkpoint.info.decision)
    folded = with_temperature(checkpoint, fit)
    assert folded.info.metrics["temperature"]["temperature"] == fit.temperature
    expected = scaled_probabilities(outputs, checkpoint.info.decision, fit.temperature)
    np.testing.assert_allclose(PyTorchRunner(folded).infer(images).probabilities, expected, atol=1e-6)
    np.testing.assert_array_equal(PyTorchRunner(checkpoint).infer(images).probabilities, plain.probabilities)


def test_a_model_without_text_head_takes_a_temperature() -> None:
    checkpoint = tiny_checkpoint(text_head=False)
    fit = fit_temperature(drawn(2.0, 500), "label")
    folded = with_temperature(checkpoint, fit)
    ratio = checkpoint.model.label_head.weight / folded.model.label_head.weight
    torch.testing.assert_close(ratio, torch.full_like(ratio, fit.temperature))
