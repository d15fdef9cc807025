"""The deploy graph: equal to PyTorch, clean and reproducible."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from fer_edge.engines.base import Artifact, Images, Prediction, RunOptions
from fer_edge.engines.registry import get_engine
from fer_edge.errors import ConfigError
from fer_edge.evaluation.parity import relative_error
from fer_edge.export.deploy import DeployModel
from fer_edge.export.onnx_graph import onnx_from_checkpoint
from fer_edge.graph.typed_graph import TypedGraph
from fer_edge.model.checkpoint import Checkpoint
from fer_edge.model.config import StemConfig
from fer_edge.model.runner import PyTorchRunner
from tests.tiny_model import tiny_checkpoint

VARIANTS: dict[str, dict[str, Any]] = {
    "paper-like": {},
    "release-like": {"position_encoding": False, "token_norm": True, "text_token": "class"},
    "edge-like": {
        "stem": StemConfig(color="grey", input_width=8, input_stride=2, widths=(8, 12), units=(2, 2), pre_norm=False),
        "grid": 14,
        "patches": (2, 7, 14),
        "position_encoding": False,
        "final_norm": True,
    },
    "relu": {
        "stem": StemConfig(
            input_width=8, input_stride=2, widths=(8, 12), units=(2, 2), pre_norm=False, activation="relu"
        )
    },
    "separable": {
        "stem": StemConfig(
            kind="separable", color="grey", input_width=8, input_stride=2, widths=(8, 12, 16), units=(1, 2, 1)
        ),
        "grid": 14,
        "patches": (2, 7),
    },
    "no-text": {"text_head": False},
    "one-patch": {"patches": (2,)},
    "one-block": {"depth": 1},
}

EXPORTED = {"paper-like", "edge-like"}  # the other graphs are exported in slow tests


def random_images(count: int) -> Images:
    return np.random.default_rng(0).integers(0, 256, (count, 112, 112, 3), dtype=np.uint8)


def run(engine: str, graph: TypedGraph, images: Images) -> Prediction:
    with get_engine(engine).load(Artifact(graph.to_bytes(), None, 32), RunOptions(threads=1)) as runner:
        return runner.infer(images)


def worst(actual: Prediction, expected: Prediction) -> float:
    pairs = [(a, b) for a, b in zip(actual, expected, strict=True) if a is not None and b is not None]
    return max(relative_error(a, b) for a, b in pairs)


@pytest.mark.parametrize("variant", VARIANTS)
def test_deploy_form_agrees_with_the_training_form(variant: str) -> None:
    checkpoint = tiny_checkpoint(**VARIANTS[variant])
    images = random_images(3)
    with torch.no_grad():
        label, text, probabilities = DeployModel(copy.deepcopy(checkpoint))(torch.from_numpy(images))
    actual = Prediction(label.numpy(), None if text is None else text.numpy(), probabilities.numpy())
    expected = PyTorchRunner(checkpoint).infer(images)
    assert (actual.text_logits is None) == (expected.text_logits is None)
    assert worst(actual, expected) < 1e-4


@pytest.mark.parametrize(
    "variant",
    [pytest.param(name, marks=() if name in EXPORTED else pytest.mark.slow) for name in VARIANTS],
)
def test_fp32_graph_agrees_with_the_training_form(variant: str) -> None:
    checkpoint = tiny_checkpoint(**VARIANTS[variant])
    model = onnx_from_checkpoint(checkpoint)
    for count in (1, 7):
        images = random_images(count)
        expected = PyTorchRunner(checkpoint).infer(images)
        for engine in ("openvino", "onnxruntime"):
            actual = run(engine, model, images)
            assert (actual.text_logits is None) == (expected.text_logits is None)
            assert worst(actual, expected) < 1e-4, (engine, count)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["label", "text", "mean"])
def test_head_is_computed_in_the_graph(head: str) -> None:
    checkpoint = tiny_checkpoint(head=head)
    images = random_images(2)
    actual = run("onnxruntime", onnx_from_checkpoint(checkpoint), images)
    assert actual.text_logits is not None

    def softmax(x: Any) -> Any:
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    label, text = softmax(actual.label_logits), softmax(actual.text_logits)
    expected = {"label": label, "text": text, "mean": (label + text) / 2}[head]
    np.testing.assert_allclose(actual.probabilities, expected, atol=1e-6)


def test_border_is_exact_with_a_norm_before_a_padded_convolution() -> None:
    """Folding the norm's shift into a bias would be wrong only along the border; a constant image reveals it."""
    checkpoint = tiny_checkpoint()
    images = np.full((1, 112, 112, 3), 255, np.uint8)
    assert (
        worst(run("onnxruntime", onnx_from_checkpoint(checkpoint), images), PyTorchRunner(checkpoint).infer(images))
        < 1e-4
    )


@pytest.mark.slow
def test_norm_with_a_vanishing_scale_remains_an_operator() -> None:
    checkpoint = tiny_checkpoint()
    norm = checkpoint.model.stem.blocks[1].norm1
    norm.weight.data[0] = 0.0  # type: ignore[union-attr,operator]
    images = random_images(1)
    assert (
        worst(run("onnxruntime", onnx_from_checkpoint(checkpoint), images), PyTorchRunner(checkpoint).infer(images))
        < 1e-4
    )


def test_graph_is_clean() -> None:
    model = onnx.load_from_string(onnx_from_checkpoint(tiny_checkpoint()).to_bytes())
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds["LayerNormalization"] == 4
    assert not {"MaxPool", "ReduceMean", "BatchNormalization", "Identity", "Shape", "Expand"} & set(kinds)
    assert {node.domain for node in model.graph.node} == {""}
    assert [opset.domain for opset in model.opset_import] == [""]
    assert b"/" not in model.producer_name.encode() and not any(node.doc_string for node in model.graph.node)
    assert [value.name for value in model.graph.input] == ["images"]
    assert [value.name for value in model.graph.output] == ["label_logits", "text_logits", "probabilities"]


@pytest.mark.slow
def test_names_come_from_the_model() -> None:
    graph = onnx.load_from_string(onnx_from_checkpoint(tiny_checkpoint()).to_bytes()).graph
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    weights = {node.name: node.input[1] for node in graph.node if node.op_type in ("Conv", "MatMul", "Gemm", "PRelu")}
    assert weights["stem.blocks.0.conv1/Conv"] == "stem.blocks.0.conv1.weight"
    assert weights["stem.blocks.0.act/PRelu"] == "stem.blocks.0.act.weight"
    assert weights["blocks.0.attention.query/MatMul"] == "blocks.0.attention.query.weight"
    assert weights["text_matrix/MatMul"] == "text_matrix"
    assert all(node.output[0] in (node.name, "label_logits", "text_logits", "probabilities") for node in graph.node)


@pytest.mark.slow
def test_equal_slopes_are_not_shared() -> None:
    checkpoint = tiny_checkpoint()
    for module in checkpoint.model.modules():
        if isinstance(module, torch.nn.PReLU):
            module.weight.data.fill_(0.25)
    nodes = [
        node
        for node in onnx.load_from_string(onnx_from_checkpoint(checkpoint).to_bytes()).graph.node
        if node.op_type == "PRelu"
    ]
    assert len({node.input[1] for node in nodes}) == len(nodes) > 1


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_export")
def test_equal_checkpoints_give_equal_bytes() -> None:
    first, second = (onnx_from_checkpoint(tiny_checkpoint()).to_bytes() for _ in range(2))
    assert first == second


@pytest.mark.slow
def test_fp16_graph_is_half_except_norms_softmax_and_heads() -> None:
    checkpoint = tiny_checkpoint()
    model = onnx_from_checkpoint(checkpoint, "fp16")
    types = model.operator_types()
    assert set(types["Conv"]) == {"float16"}
    assert set(types["LayerNormalization"]) == set(types["Softmax"]) == {"float"}
    images = random_images(2)
    assert worst(run("onnxruntime", model, images), PyTorchRunner(checkpoint).infer(images)) < 2e-2


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_export")
def test_export_does_not_change_the_checkpoint() -> None:
    checkpoint: Checkpoint = tiny_checkpoint()
    before = PyTorchRunner(checkpoint).infer(random_images(1))
    onnx_from_checkpoint(checkpoint, "fp16")
    after = PyTorchRunner(checkpoint).infer(random_images(1))
    assert np.array_equal(before.label_logits, after.label_logits)


def test_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="precision is 'int4'; expected fp32 or fp16"):
        onnx_from_checkpoint(tiny_checkpoint(), "int4")  # type: ignore[arg-type]
