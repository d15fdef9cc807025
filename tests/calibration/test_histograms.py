"""Where methods cut, on distributions whose best cut is known."""

from __future__ import annotations

import numpy as np
import pytest

from fer_edge.calibration.histograms import BINS, METHODS, Method, Statistics, magnitude, observe, passes
from tests.calibration.tiny_ranges import tiny_graph, tiny_images


def seen(values: np.ndarray, batches: int = 4) -> Statistics:
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


def squared_error(values: np.ndarray, cut: float) -> float:
    step = cut / 127
    return float(((np.clip(np.rint(values / step), -127, 127) * step - values) ** 2).mean())


def test_minmax_keeps_all_and_the_average_forgets() -> None:
    statistics = seen(normal(outlier=-50.0))
    assert magnitude(statistics, "minmax") == 50.0
    # The outlier came first; each batch after it pulls the average a tenth of the way.
    expected = statistics.peaks[0]
    for peak in statistics.peaks[1:]:
        expected = 0.9 * expected + 0.1 * peak
    assert magnitude(statistics, "moving-average") == pytest.approx(expected)
    assert expected < 45


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_one_outlier_does_not_rule_the_range(method: Method) -> None:
    assert 2 < magnitude(seen(normal(outlier=40.0)), method) < 8


def test_mse_finds_the_least_error() -> None:
    values = normal(outlier=20.0)
    cut = magnitude(seen(values), "mse")
    assert squared_error(values, cut) < 1.02 * min(squared_error(values, other) for other in np.linspace(1.3, 20, 200))


def test_percentile_counts_values() -> None:
    values = np.linspace(0, 1, 100_001)
    assert magnitude(seen(values), "percentile") == pytest.approx(0.9999, abs=2 / BINS)


@pytest.mark.parametrize("method", METHODS)
def test_no_method_goes_beyond_what_was_seen(method: Method) -> None:
    for statistics in (seen(normal()), seen(np.full(1000, 0.5)), seen(np.random.default_rng(1).uniform(-1, 1, 5000))):
        assert 0 < magnitude(statistics, method) <= statistics.peak * (1 + 1e-9)
    assert magnitude(Statistics(0.0, 0.0, [0.0]), method) == 0


def test_statistics_are_those_of_the_tensors() -> None:
    from fer_edge.evaluation.tensors import ONNXRuntimeTensors

    name = "stem.blocks.0/Add"
    done: list[int] = []
    found = observe(tiny_graph(), lambda: tiny_images().batches(16), [name], method="mse", progress=done.append)[name]
    values = np.concatenate(
        [ONNXRuntimeTensors(tiny_graph(), [name]).read(batch)[name] for batch in tiny_images().batches(16)]
    )
    assert (found.low, found.high) == (values.min(), values.max())
    assert len(found.peaks) == 3
    assert found.histogram.sum() == values.size
    assert sum(done) == 48 * passes("mse")
