"""Half precision is refused if real data would overflow it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fer_edge.choices import BuildPrecision
from fer_edge.errors import ConfigError, EngineError
from fer_edge.export.build import typed_graph
from fer_edge.graph.half import check_half
from fer_edge.graph.ranges import Range
from tests.calibration.tiny_ranges import tiny_graph, tiny_ranges
from tests.tiny_model import tiny_checkpoint


@pytest.mark.slow
def test_model_within_the_limits_is_built() -> None:
    assert typed_graph(tiny_checkpoint(), "fp16", tiny_ranges()).to_bytes() == tiny_graph("fp16").to_bytes()


def test_overflowing_tensors_are_named() -> None:
    ranges = tiny_ranges()
    wide = {**ranges.tensors, "stem.blocks.1/Add": Range(-50_000, 10, 1), "blocks.0.fc2/Add": Range(0, 1e6, 1)}
    with pytest.raises(EngineError) as raised:
        check_half(tiny_graph("fp16"), replace(ranges, tensors=wide))
    assert str(raised.value) == (
        "float16 would overflow: stem.blocks.1/Add reaches 50000; blocks.0.fc2/Add reaches 1e+06; the limit is "
        "32752. Build fp32 or int8 instead"
    )


def test_float32_tensors_may_be_large() -> None:
    ranges = tiny_ranges()
    norms = {name: Range(-1e6, 1e6, 1e6) for name in ranges.tensors if name.endswith("LayerNormalization")}
    check_half(tiny_graph("fp16"), replace(ranges, tensors={**ranges.tensors, **norms}))


@pytest.mark.slow
def test_weights_beyond_half_are_named() -> None:
    checkpoint = tiny_checkpoint()
    checkpoint.model.encoder.blocks[0].mlp.fc2.weight.data[0, 0] = 1e5  # type: ignore[union-attr,operator]
    with pytest.raises(EngineError, match=r"blocks\.0\.fc2\.weight contains a value beyond float16's range"):
        typed_graph(checkpoint, "fp16", tiny_ranges())


def test_half_and_int8_need_ranges() -> None:
    precisions: tuple[BuildPrecision, ...] = ("fp16", "int8")
    for precision in precisions:
        with pytest.raises(ConfigError, match=f"{precision} needs activation ranges.*fer-edge calibrate.*--ranges"):
            typed_graph(tiny_checkpoint(), precision)
    with pytest.raises(ConfigError, match="precision is 'int4'; expected one of: fp32, fp16, int8"):
        typed_graph(tiny_checkpoint(), "int4")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="float_precision is 'int8'; expected one of: fp32, fp16"):
        typed_graph(tiny_checkpoint(), "int8", tiny_ranges(), "int8")  # type: ignore[arg-type]
