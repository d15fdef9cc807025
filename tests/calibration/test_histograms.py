"""Ranges that the methods choose, on distributions with a known best range."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from fer_edge.calibration.histograms import BINS, Statistics, magnitude, observe, passes
from fer_edge.choices import CalibrationMethod
from tests.calibration.tiny_ranges import tiny_graph, tiny_images


def statistics_of(values: np.ndarray, batches: int = 4) -> Statistics:
    parts = np.array_split(np.abs(values), batches)
    peak = float(np.abs(values).max())
    histogram, _ = np.histogram(np.abs(values), bins=BINS, range=(0, peak))
    return Statistics(
        float(values.min()), float(values.max()), [float(p.max()) for p in parts], histogram.astype(float)
    )


def normal(outlier: float = 0.0) -> np.ndarray:
    values = np.random.default_rng(0).standard_normal(100_000)
    if outlier:
        values[0] = outlier
    return values


def squared_error(values: np.ndarray, threshold: float) -> float:
    step = threshold / 127
    return float(((np.clip(np.rint(values / step), -127, 127) * step - values) ** 2).mean())


def test_minmax_covers_all_values_and_the_average_does_not() -> None:
    statistics = statistics_of(normal(outlier=-50.0))
    assert magnitude(statistics, "minmax") == 50.0
    # The outlier came first; each batch after it pulls the average a tenth of the way.
    expected = statistics.peaks[0]
    for peak in statistics.peaks[1:]:
        expected = 0.9 * expected + 0.1 * peak
    assert magnitude(statistics, "moving-average") == pytest.approx(expected)
    assert expected < 45


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_one_outlier_does_not_determine_the_range(method: CalibrationMethod) -> None:
    assert 2 < magnitude(statistics_of(normal(outlier=40.0)), method) < 8


def test_mse_minimises_the_squared_error() -> None:
    values = normal(outlier=20.0)
    threshold = magnitude(statistics_of(values), "mse")
    assert squared_error(values, threshold) < 1.02 * min(
        squared_error(values, other) for other in np.linspace(1.3, 20, 200)
    )


def test_percentile_of_uniform_values() -> None:
    values = np.linspace(0, 1, 100_001)
    assert magnitude(statistics_of(values), "percentile") == pytest.approx(0.9999, abs=2 / BINS)


@pytest.mark.parametrize("method", get_args(CalibrationMethod))
def test_no_range_exceeds_the_peak(method: CalibrationMethod) -> None:
    for statistics in (
        statistics_of(normal()),
        statistics_of(np.full(1000, 0.5)),
        statistics_of(np.random.default_rng(1).uniform(-1, 1, 5000)),
    ):
        assert 0 < magnitude(statistics, method) <= statistics.peak * (1 + 1e-9)
    assert magnitude(Statistics(0.0, 0.0, [0.0]), method) == 0


def test_statistics_match_the_tensors() -> None:
    from fer_edge.evaluation.tensors import tensor_reader

    name = "stem.blocks.0/Add"
    counts: list[int] = []
    observed = observe(tiny_graph(), lambda: tiny_images().batches(16), [name], method="mse", progress=counts.append)
    statistics = observed[name]
    values = np.concatenate(
        [tensor_reader("onnxruntime", tiny_graph(), [name]).read(batch)[name] for batch in tiny_images().batches(16)]
    )
    assert (statistics.low, statistics.high) == (values.min(), values.max())
    assert len(statistics.peaks) == 3
    assert statistics.histogram.sum() == values.size
    assert sum(counts) == 48 * passes("mse")
