"""Models with NaN or infinity in their outputs are refused before a bundle is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fer_edge.bundle import Bundle
from fer_edge.errors import NonFiniteError
from fer_edge.export.build import build
from fer_edge.graph.finite import check_graph, check_runner, synthetic_images
from fer_edge.graph.typed_graph import TypedGraph
from fer_edge.model.runner import PyTorchRunner
from tests.calibration.tiny_ranges import tiny_graph
from tests.tiny_model import overflowing_checkpoint, tiny_checkpoint

CAUSE = "the weights are finite, but the activations overflow; train the model again with a lower learning rate"


def graph_with(name: str, value: float) -> TypedGraph:
    """Return the tiny graph with the first value of a constant changed."""
    proto = onnx.load_from_string(tiny_graph().to_bytes())
    (tensor,) = [tensor for tensor in proto.graph.initializer if tensor.name == name]
    changed = numpy_helper.to_array(tensor).copy()
    changed.flat[0] = value
    tensor.CopyFrom(numpy_helper.from_array(changed, name))
    return TypedGraph.parse(proto.SerializeToString())


def test_diverged_model_is_not_built(tmp_path: Path) -> None:
    path, out = tmp_path / "big.safetensors", tmp_path / "big.fer"
    overflowing_checkpoint().save(path)
    with pytest.raises(NonFiniteError) as refused:
        build(path, out)
    assert str(refused.value).startswith("the model gives NaN or infinity for a test image (")
    assert CAUSE in str(refused.value) and "\n" not in str(refused.value)
    assert not out.exists()


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_graph_with_overflowed_constants_is_refused(value: float) -> None:
    with pytest.raises(NonFiniteError, match=r"the exported graph gives NaN or infinity for a test image \(black\)"):
        check_graph(graph_with("label_head.bias", value))


@pytest.mark.slow
def test_finite_model_is_built(tmp_path: Path) -> None:
    check_runner("the model", PyTorchRunner(tiny_checkpoint()))
    check_graph(tiny_graph())
    tiny_checkpoint().save(tmp_path / "a.safetensors")
    build(tmp_path / "a.safetensors", tmp_path / "a.fer")
    assert Bundle.open(tmp_path / "a.fer").manifest.name == "ferformer"


def test_synthetic_images_are_reproducible() -> None:
    first, second = synthetic_images(), synthetic_images()
    assert list(first) == ["black", "white", "grey ramp", "noise"]
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert {image.shape for image in first.values()} == {(112, 112, 3)}
