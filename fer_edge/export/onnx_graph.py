"""Export of the deploy graph as a typed graph, with cleaning."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx_ir as ir
import torch

import fer_edge
from fer_edge.choices import Precision
from fer_edge.engines.base import IMAGE_SIZE, INPUT_NAME, OUTPUT_NAMES
from fer_edge.errors import ConfigError, EngineError
from fer_edge.export.deploy import DeployModel
from fer_edge.graph.names import name_by_module
from fer_edge.graph.prelu_forms import separate_slopes
from fer_edge.graph.typed_graph import EXPORTED, TypedGraph, add_constant, array_of, input_of, values_of
from fer_edge.model.checkpoint import Checkpoint

OPSET = 18  # LayerNormalization needs 17; apps that import ONNX support newer opsets late
IR_VERSION = 8  # ONNX Runtime 1.16 refuses 10, and the graph needs nothing that is newer than 8


def onnx_from_checkpoint(checkpoint: Checkpoint, precision: Precision = "fp32") -> TypedGraph:
    """Export the typed deploy graph of a checkpoint; equal checkpoints give equal graphs.

    Args:
        checkpoint: The checkpoint, which is not changed.
        precision: Precision of the layers, fp32 by default.

    Raises:
        ConfigError: Unknown precision.
        EngineError: Model that PyTorch cannot export.
    """
    if precision not in ("fp32", "fp16"):
        raise ConfigError(f"precision is {precision!r}; expected fp32 or fp16")
    deploy = DeployModel(copy.deepcopy(checkpoint))
    if precision == "fp16":
        deploy.convert_to_half()
    model = _export(deploy)
    separate_slopes(model.graph)
    _add_zero_biases(model.graph)
    name_by_module(model.graph)
    for item in (model, model.graph, *model.graph, *values_of(model.graph)):  # the exporter's notes on this machine
        item.metadata_props.clear()
        item.doc_string = None
        item.meta[EXPORTED] = True
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "fer-edge", fer_edge.__version__
    model.graph.name = "fer-former"
    model.metadata_props.update(_metadata(checkpoint))
    return TypedGraph(model)


def _export(deploy: DeployModel) -> ir.Model:
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
    return program.model


def _metadata(checkpoint: Checkpoint) -> dict[str, str]:
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


def _add_zero_biases(graph: ir.Graph) -> None:
    """Add a bias of zeros to every LayerNormalization without one; norms of equal width and type share it.

    The bias is optional, but ONNX Runtime 1.18 aborts its process on a node without it: its fusion with the preceding
    addition reads a third input. Values do not change, and current engines execute no additional operator.
    """
    for node in graph:
        if node.op_type == "LayerNormalization" and (len(node.inputs) < 3 or node.inputs[2] is None):
            zeros = np.zeros_like(array_of(input_of(node, 1)))
            name = f"zero_bias_{zeros.dtype}_{'x'.join(map(str, zeros.shape))}"
            node.resize_inputs(3)
            node.replace_input_with(2, add_constant(graph, name, zeros))


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
