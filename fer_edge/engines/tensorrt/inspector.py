"""Operators of a network and of a built engine, with the precision that each computes in.

An engine's operators come from the JSON of TensorRT's engine inspector. Its format is taken from NVIDIA's documentation
(10.16 and 11.3), from engines shown in TensorRT issues 4020 and 4397, and from the parser of trt-engine-explorer.
TensorRT 10 writes a tensor's layout and type into one text (`Format/Datatype`), TensorRT 11 into two.

The inspector needs a GPU. Without one, the types of the strongly typed network are the evidence: the builder must use
them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fer_edge.engines.base import ExecutedOperator
from fer_edge.engines.tensorrt.api import LOG, Api
from fer_edge.engines.tensorrt.errors import create_object, logger_for
from fer_edge.errors import EngineError, EngineUnavailableError

if TYPE_CHECKING:
    from tensorrt_types import ICudaEngine, ILayer, INetworkDefinition, ITensor

UNKNOWN = "unknown"  # precision or kind that the inspector does not report
MAX_CHARACTERS = 64 << 20  # of the inspector's JSON; hundreds of layers need far less than 1 MB
NODE_PREFIX = "[ONNX Layer: "  # before the name of each ONNX node in a layer's metadata
# Words of the inspector's type texts, such as "Row major linear FP16 format" or "Half".
SYNONYMS = {"float": "fp32", "half": "fp16", "bfloat16": "bf16"}
PRECISIONS = {**SYNONYMS, **{name: name for name in ("fp32", "fp16", "bf16", "int8", "fp8")}}
OTHER_TYPES = ("int4", "fp4", "int32", "int64", "uint8", "bool", "double", "uint16", "int16")
# Types of the two factors in a kernel's name: "sm80_xmma_gemm_i8i8_i8i32_f32_tn".
FACTORS = re.compile(r"_(i8i8|f16f16|bf16bf16|f32f32|e4m3e4m3)_")
FACTOR_PRECISIONS = {"i8i8": "int8", "f16f16": "fp16", "bf16bf16": "bf16", "f32f32": "fp32", "e4m3e4m3": "fp8"}
MULTIPLYING = ("conv", "gemm", "matrixmultiply", "matmul", "correlation", "mha", "attention")
MULTIPLYING_KERNELS = ("gemm", "fprop", "mha")
NOT_OPERATORS = ("constant", "noop", "no-op", "signal", "wait")

# Names of element and layer types in a network, in the bindings of both products.
NETWORK_PRECISIONS = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16", "INT8": "int8", "FP8": "fp8"}
NETWORK_MULTIPLYING = {"CONVOLUTION", "MATRIX_MULTIPLY", "DECONVOLUTION"}
# Layers that leave the values of their first input unchanged. They may stand between a weight's dequantisation and the
# layer that reads it.
PASS_THROUGH = {"SHUFFLE", "CAST", "IDENTITY"}


def inspect_plan(api: Api, plan: bytes) -> str | None:
    """Return the inspector's JSON of an engine that was just built; None if it cannot be loaded on this machine."""
    logger, messages = logger_for(api.trt)
    try:
        runtime = create_object(api, "runtime", lambda: api.trt.Runtime(logger), messages)
    except EngineUnavailableError as error:
        LOG.warning("%s; the engine is not inspected", error)  # the finished engine is still valid
        return None
    runtime.engine_host_code_allowed = True  # safe: the engine was built by this process
    engine: ICudaEngine | None = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        return None
    return engine.create_engine_inspector().get_engine_information(api.trt.LayerInformationFormat.JSON)


def operators_of_engine(layers: str | None, network: tuple[ExecutedOperator, ...]) -> tuple[ExecutedOperator, ...]:
    """Combine the operators that the inspector reports with those of the typed network.

    A strongly typed engine must use its network's types. A layer that the inspector does not name, or names without a
    type, is therefore taken from the network. All layers are, if there is no JSON or it cannot be parsed; the log
    reports the latter, since a finished engine is still valid.

    Args:
        layers: JSON of the inspector; None if the engine was not inspected.
        network: Operators of the network that the engine was built from.
    """
    try:
        reported = () if layers is None else operators_of_layers(layers)
    except EngineError as error:
        LOG.warning("%s; its precision is proven from the network it was built from", error)
        reported = ()
    if not reported:
        return network
    typed = tuple(operator for operator in reported if operator.precision != UNKNOWN)
    names = {name for operator in typed for name in operator.names}
    return typed + tuple(
        operator for operator in network if operator.multiplies and not names.issuperset(operator.names)
    )


def operators_of_layers(text: str) -> tuple[ExecutedOperator, ...]:
    """Parse the inspector's JSON. The result is empty if the engine was built without detailed profiling verbosity.

    Raises:
        EngineError: Text that is not the JSON of an inspector.
    """
    return tuple(_operator(layer) for layer in _parse_layers(text) if _is_operator(layer))


def _parse_layers(text: str) -> list[dict[str, Any]]:
    if len(text) > MAX_CHARACTERS:
        raise EngineError(f"the engine inspector gave {len(text) >> 20} MB; expected at most {MAX_CHARACTERS >> 20}")
    try:
        content = json.loads(text, strict=False)  # TensorRT separates names with control characters
    except (ValueError, RecursionError) as error:
        raise EngineError(f"the engine inspector gave JSON that cannot be parsed ({error}): {text[:80]!r}") from error
    layers = content.get("Layers") if isinstance(content, dict) else None
    if not isinstance(layers, list):
        raise EngineError(f"the engine inspector gave no list of Layers: {text[:80]!r}")
    # Below ProfilingVerbosity.DETAILED the list contains names only.
    return [layer for layer in layers if isinstance(layer, dict)]


def _is_operator(layer: dict[str, Any]) -> bool:
    return _text(layer, "LayerType").lower() not in NOT_OPERATORS


def _operator(layer: dict[str, Any]) -> ExecutedOperator:
    kind, tactic = _text(layer, "LayerType"), _text(layer, "TacticName").lower()
    description = f"{kind} {_text(layer, 'ParameterType')}".lower()
    multiplies = any(word in description for word in MULTIPLYING) or any(word in tactic for word in MULTIPLYING_KERNELS)
    precision = _factor_precision(layer, tactic) if multiplies else _output_precision(layer)
    return ExecutedOperator(kind or UNKNOWN, precision, tuple(_names(layer)), multiplies)


def _factor_precision(layer: dict[str, Any], tactic: str) -> str:
    """Return the precision of a product's factors: from the kernel's name, else its weights, else its first input.

    The output type does not show it: an int8 product may write fp16, and an fp16 product may quantise its output.
    """
    if match := FACTORS.search(tactic):
        return FACTOR_PRECISIONS[match[1]]
    weights = layer.get("Weights")
    if isinstance(weights, dict) and (precision := _precision(_text(weights, "Type"))) != UNKNOWN:
        return precision
    return next(_tensor_precisions(layer, "Inputs"), UNKNOWN)


def _output_precision(layer: dict[str, Any]) -> str:
    return next(_tensor_precisions(layer, "Outputs"), UNKNOWN)


def _tensor_precisions(layer: dict[str, Any], side: str) -> Iterator[str]:
    tensors = layer.get(side)
    for tensor in tensors if isinstance(tensors, list) else ():
        if isinstance(tensor, dict):
            yield _tensor_precision(tensor)


def _tensor_precision(tensor: dict[str, Any]) -> str:
    keys = ("DataType", "Datatype", "Format/Datatype", "Format/DataType", "Format")
    return next((p for p in (_precision(_text(tensor, key)) for key in keys) if p != UNKNOWN), UNKNOWN)


def _precision(text: str) -> str:
    """Return fer-edge's name of the type in a text, else TensorRT's name."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    names = (PRECISIONS.get(word, word) for word in words if word in PRECISIONS or word in OTHER_TYPES)
    return next(names, UNKNOWN)


def _names(layer: dict[str, Any]) -> Iterator[str]:
    """Yield a layer's ONNX nodes, from its metadata or, if it has none, from its own name."""
    metadata = _text(layer, "Metadata")
    if NODE_PREFIX in metadata:
        for part in metadata.split(NODE_PREFIX)[1:]:
            yield part.rpartition("]")[0]  # up to the last bracket: node names may contain brackets
    elif "Metadata" not in layer:
        yield from _text(layer, "Name").split(" + ")


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key, "")
    return value if isinstance(value, str) else ""


def operators_of_network(network: INetworkDefinition) -> tuple[ExecutedOperator, ...]:
    """Return the layers of a strongly typed network, without constants.

    A product of two dequantised tensors counts as int8: it is ONNX's form of an int8 product, and builders fuse it.
    """
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    producers = {layer.get_output(index).name: layer for layer in layers for index in range(layer.num_outputs)}
    operators = []
    for layer in layers:
        kind = _layer_kind(layer)
        if kind == "CONSTANT":
            continue
        multiplies = kind in NETWORK_MULTIPLYING
        factors = [layer.get_input(index) for index in range(min(layer.num_inputs, 2))]
        int8 = multiplies and len(factors) == 2 and all(_is_dequantised(factor, producers) for factor in factors)
        # For all other layers, quantisation included, the output type is the type of the computation.
        element = "INT8" if int8 else str(layer.get_output(0).dtype).rsplit(".", 1)[-1]
        precision = NETWORK_PRECISIONS.get(element, element.lower())
        operators.append(ExecutedOperator(kind, precision, (layer.name,), multiplies, reported_by_engine=False))
    return tuple(operators)


def _is_dequantised(tensor: ITensor, producers: dict[str, ILayer]) -> bool:
    producer = producers.get(tensor.name)
    while producer is not None and _layer_kind(producer) in PASS_THROUGH:
        producer = producers.get(producer.get_input(0).name)
    return producer is not None and _layer_kind(producer) == "DEQUANTIZE"


def _layer_kind(layer: ILayer) -> str:
    return str(layer.type).rsplit(".", 1)[-1]
