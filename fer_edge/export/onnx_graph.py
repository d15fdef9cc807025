"""The deploy graph as ONNX: exported, cleaned, checked."""

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
from fer_edge.engines.base import IMAGE_SIZE, INPUT_NAME, OUTPUT_NAMES, Precision
from fer_edge.errors import ConfigError, EngineError
from fer_edge.export.deploy import DeployModel
from fer_edge.export.names import name_by_module
from fer_edge.model.checkpoint import Checkpoint

OPSET = 18  # LayerNormalization is an operator from 17 on; hosts that only read ONNX lag behind the newest
IR_VERSION = 8  # ONNX Runtime 1.16 refuses 10, which nothing in the graph needs
ZERO_BIAS = "zero_bias"


def onnx_from_checkpoint(checkpoint: Checkpoint, precision: Precision = "fp32") -> bytes:
    """The typed deploy graph of a checkpoint; equal checkpoints give equal bytes.

    Raises:
        ConfigError: The precision is not known.
        EngineError: PyTorch could not export the model, or ONNX's checker refused the graph.
    """
    if precision not in ("fp32", "fp16"):
        raise ConfigError(f"precision is {precision!r}; expected fp32 or fp16")
    deploy = DeployModel(copy.deepcopy(checkpoint))
    if precision == "fp16":
        deploy.half_inside()
    model = _export(deploy)
    _own_slopes(model.graph)
    write_zero_biases(model.graph)
    name_by_module(model.graph)
    _clean(model, checkpoint)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise EngineError(f"the exported graph is not valid ONNX: {error}") from error
    return model.SerializeToString(deterministic=True)


def operator_types(model: bytes) -> dict[str, dict[str, int]]:
    """Operator type -> element type of its first output -> number of nodes."""
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(model)).graph
    types = {value.name: value.type.tensor_type.elem_type for value in [*graph.value_info, *graph.output]}
    found: dict[str, Counter[str]] = {}
    for node in graph.node:
        element = TensorProto.DataType.Name(types.get(node.output[0], 0)).lower()
        found.setdefault(node.op_type, Counter())[element] += 1
    return {name: dict(sorted(counts.items())) for name, counts in sorted(found.items())}


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
        raise EngineError("torch.onnx gave no program; expected torch 2.6 or newer with onnxscript")
    return program.model_proto


def _clean(model: onnx.ModelProto, checkpoint: Checkpoint) -> None:
    """Leave out what the exporter writes about this machine; write in what a reader of the graph alone needs."""
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
    """The model's own metadata: what a host needs that has nothing but `model.onnx`; see docs/guides/onnx.md."""
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
    """Give every LayerNormalization without a bias one of zeros, shared by all of one width and type.

    The bias is optional, but ONNX Runtime 1.18 aborts its process on a node without it: its fusion with the addition
    before reads a third input. No value changes, and no engine of today executes an operator more.
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


def _own_slopes(graph: onnx.GraphProto) -> None:
    """Give every PReLU a slope tensor of its own.

    The exporter lets equal tensors share one, as slopes that were never trained are; OpenVINO fuses a PReLU into the
    convolution before it only if nothing else reads its slope.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    seen: set[str] = set()
    for node in graph.node:
        if node.op_type != "PRelu" or node.input[1] not in tensors:
            continue
        slope = node.input[1]
        if slope in seen:
            copied = graph.initializer.add()
            copied.CopyFrom(tensors[slope])
            copied.name = node.input[1] = f"{slope}_of_{node.output[0]}"
        seen.add(slope)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks on stdout, through warnings and through logging; our users asked for none of it."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
