"""Tiny ONNX model with the inputs and outputs of a deploy graph and three classes, and its bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fer_edge.bundle import EngineEntry, Manifest, write_bundle

LABELS = ("neutral", "happiness", "surprise")


def tiny_onnx(*, text_head: bool = True, seed: int = 0) -> bytes:
    """Return a model of five operators: mean colour of the image, linear layer, softmax."""
    rng = np.random.default_rng(seed)
    weights = {"label": rng.normal(size=(3, 3)), "text": rng.normal(size=(3, 3))}
    heads = ["label", "text"] if text_head else ["label"]
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled", "axes"], ["mean"], keepdims=0),
    ]
    nodes += [helper.make_node("MatMul", ["mean", f"{head}_weight"], [f"{head}_logits"]) for head in heads]
    nodes.append(helper.make_node("Softmax", ["label_logits"], ["probabilities"], axis=-1))
    for node in nodes:
        node.name = node.output[0]
    constants = [
        numpy_helper.from_array(np.float32(1 / 255).reshape(1), "scale"),
        numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
        *(numpy_helper.from_array(weights[head].astype(np.float32), f"{head}_weight") for head in heads),
    ]
    names = [*(f"{head}_logits" for head in heads), "probabilities"]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 112, 112, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in names],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def tiny_manifest(**changes: object) -> Manifest:
    """Return a manifest for `tiny_onnx`."""
    values: dict[str, object] = {
        "name": "tiny",
        "labels": LABELS,
        "words": LABELS,
        "head": "label",
        "precision": "fp32",
        "max_batch": 8,
        "engines": (
            EngineEntry("openvino", ("cpu",), "2026.4.1", None, None),
            EngineEntry("onnxruntime", ("cpu",), "1.32.0", None, None),
        ),
    }
    return Manifest(**{**values, **changes})  # type: ignore[arg-type]


def tiny_bundle(path: Path, *, seed: int = 0, **changes: object) -> Path:
    """Write a bundle of `tiny_onnx` and return its path."""
    write_bundle(path, tiny_manifest(**changes), {"model.onnx": tiny_onnx(seed=seed)})
    return path
