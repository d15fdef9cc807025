"""Layers compared with the machine's peaks."""

from __future__ import annotations

import pytest

from fer_edge.benchmark.scenarios.roofline import SCENARIO, roofline_from_layers
from fer_edge.engines.capabilities import Layer, Peak

PEAKS = [
    Peak("fp32 GEMM", "f32", "gemm", 100e9),
    Peak("fp32 convolution", "f32", "conv", 120e9),
    Peak("int8 GEMM", "u8", "gemm8", 400e9),
    Peak("memory", "f32", "copy", 20e9),
]


def layer(kind: str, precision: str, microseconds: float, macs: int, size: int) -> Layer:
    return Layer(kind.lower(), kind, "k", precision, (), microseconds, macs, size)


def test_shares_of_peak_and_roof() -> None:
    result = roofline_from_layers(
        PEAKS,
        [
            layer("Convolution", "f32", 100, 6_000_000, 100_000),  # 60 GMAC/s of 120
            layer("FullyConnected", "u8", 10, 1_000_000, 1_000_000),  # 100 of 400; memory supplies 1 * 20
            layer("Softmax", "f32", 40, 0, 1000),
            layer("Convolution", "f16", 50, 1_000_000, 1000),  # no peak was measured for f16
        ],
    )
    convolution, linear, softmax, half = result.layers
    assert convolution.share_of_peak == pytest.approx(0.5) and convolution.share_of_roof == pytest.approx(0.5)
    assert linear.share_of_peak == pytest.approx(0.25) and linear.share_of_roof == pytest.approx(5)
    assert softmax.share_of_peak is None and half.share_of_peak is None
    assert result.milliseconds == pytest.approx(0.2)
    # 6 M at 120 G take 50 us, 1 M at 400 G 2.5 us.
    assert result.at_peak == pytest.approx(0.0525) and result.share_of_peak == pytest.approx(0.2625)
    assert result.macs_by_precision == pytest.approx({"f32": 0.75, "u8": 0.125, "f16": 0.125})
    assert (result.kinds[0].kind, result.kinds[0].precision) == ("Convolution", "f32")
    assert sum(kind.share_of_time for kind in result.kinds) == pytest.approx(1)


def test_layer_far_above_the_peak_shows_a_disturbed_peak() -> None:
    fast = layer("Convolution", "f32", 40, 6_000_000, 100_000)  # 150 GMAC/s of 120
    disturbed = roofline_from_layers(PEAKS, [fast])
    assert disturbed.disturbed and "disturbed" in SCENARIO.notes(disturbed)[1]
    tiny = layer("Convolution", "f32", 1, 150_000, 1000)
    near = layer("Convolution", "f32", 48, 6_000_000, 100_000)
    quiet = roofline_from_layers(PEAKS, [tiny, near])
    assert not quiet.disturbed and len(SCENARIO.notes(quiet)) == 1
