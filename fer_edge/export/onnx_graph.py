"""Export of the deploy graph to ONNX, with cleaning and checks."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper

import fer_edge
from fer_edge.choices import Precision
from fer_edge.engines.base import IMAGE_SIZE, INPUT_NAME, OUTPUT_NAMES
from fer_edge.errors import ConfigError, EngineError
from fer_edge.export.deploy import DeployModel
from fer_edge.export.names import name_by_module
from fer_edge.model.checkpoint import Checkpoint

OPSET = 18  # LayerNormalization needs 17; apps that import ONNX support newer opsets late
IR_VERSION = 8  # ONNX Runtime 1.16 refuses 10, and the graph needs nothing that is newer than 8
ZERO_BIAS = "zero_bias"


def onnx_from_checkpoint(checkpoint: Checkpoint, precision: Precision = "fp32") -> bytes:
    """Export the typed deploy graph of a checkpoint; equal checkpoints give equal bytes.

    Args:
        checkpoint: The checkpoint, which is not changed.
        precision: Precision of the layers, fp32 by default.

    Raises:
        ConfigError: Unknown precision.
        EngineError: Model that PyTorch cannot export, or graph that ONNX's checker refuses.
    """
    if precision not in ("fp32", "fp16"):
        raise ConfigError(f"precision is {precision!r}; expected fp32 or fp16")
    deploy = DeployModel(copy.deepcopy(checkpoint))
    if precision == "fp16":
        deploy.convert_to_half()
    model = _export(deploy)
    _separate_slopes(model.graph)
    write_zero_biases(model.graph)
    name_by_module(model.graph)
    _clean(model, checkpoint)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise EngineError(f"the exported graph is not valid ONNX: {error}") from error
    return model.SerializeToString(deterministic=True)


def operator_types(model: bytes) -> dict[str, dict[str, int]]:
    """Count the nodes of a graph by operator type, and by element type of their first output."""
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(model)).graph
    types = {value.name: value.type.tensor_type.elem_type for value in [*graph.value_info, *graph.output]}
    operators: dict[str, Counter[str]] = {}
    for node in graph.node:
        element = TensorProto.DataType.Name(types.get(node.output[0], 0)).lower()
        operators.setdefault(node.op_type, Counter())[element] += 1
    return {name: dict(sorted(counts.items())) for name, counts in sorted(operators.items())}


def _export(deploy: DeployModel) -> onnx.ModelProto:
    images = torch.zeros(2, IMAGE_SIZE, IMAGE_SIZE, 3, dtype=torch.uint8)
    outputs = [name for name in OUTPUT_NAMES if name != "text_logits" or deploy.text_matrix is not None]
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            deploy,
            (images,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=outputs,
            dynamic_shapes=({0: torch.export.Dim("N", min=1)},),
            verbose=False,
        )
    if program is None:
        raise EngineError("torch.onnx returned no program; expected torch 2.6 or newer with onnxscript")
    return program.model_proto


def _clean(model: onnx.ModelProto, checkpoint: Checkpoint) -> None:
    """Remove the exporter's notes on this machine, and add metadata for apps that have only the graph."""
    model.ir_version = IR_VERSION
    model.producer_name = "fer-edge"
    model.producer_version = fer_edge.__version__
    model.doc_string = ""
    model.graph.name = "fer-former"
    model.graph.doc_string = ""
    del model.metadata_props[:], model.graph.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        value.doc_string = ""
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    for key, value in graph_metadata(checkpoint).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value


def graph_metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the metadata of `model.onnx` for apps that have no bundle; see docs/guides/onnx.md."""
    info = checkpoint.info
    return {
        "labels": json.dumps(info.labels),
        "head": info.head,
        "input": f"uint8 RGB (N, {IMAGE_SIZE}, {IMAGE_SIZE}, 3)",
        "input_size": json.dumps([IMAGE_SIZE, IMAGE_SIZE]),
        "input_layout": "NHWC",
        "input_color": "RGB",
        "input_dtype": "uint8",
        "input_range": json.dumps([0, 255]),
        "input_content": "one face, cropped to a square",
        "normalisation": "inside the graph",
    }


def write_zero_biases(graph: onnx.GraphProto) -> None:
    """Add a bias of zeros to every LayerNormalization without one; norms of equal width and type share it.

    The bias is optional, but ONNX Runtime 1.18 aborts its process on a node without it: its fusion with the preceding
    addition reads a third input. Values do not change, and current engines execute no additional operator.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "LayerNormalization" or (len(node.input) > 2 and node.input[2]):
            continue
        scale = numpy_helper.to_array(tensors[node.input[1]])
        name = f"{ZERO_BIAS}_{scale.dtype}_{'x'.join(map(str, scale.shape))}"
        if name not in tensors:
            tensors[name] = numpy_helper.from_array(np.zeros_like(scale), name)
            graph.initializer.append(tensors[name])
        node.input[2:] = [name]


def _separate_slopes(graph: onnx.GraphProto) -> None:
    """Give every PReLU a slope tensor of its own.

    The exporter merges equal tensors, such as untrained slopes; OpenVINO fuses a PReLU into the preceding convolution
    only if the slope has no other consumer.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    used: set[str] = set()
    for node in graph.node:
        if node.op_type != "PRelu" or node.input[1] not in tensors:
            continue
        slope = node.input[1]
        if slope in used:
            copied = graph.initializer.add()
            copied.CopyFrom(tensors[slope])
            copied.name = node.input[1] = f"{slope}_of_{node.output[0]}"
        used.add(slope)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's warnings and log messages, which do not concern our users."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
