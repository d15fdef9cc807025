"""What a built engine says of its own layers: the engine inspector's JSON, and the operators in it.

Of NVIDIA's documentation of the inspector (10.16, 11.3), engines shown in its issues 4020 and 4397, and what reads them
in its trt-engine-explorer. TensorRT 10 has a tensor's layout and type in one text (`Format/Datatype`), 11 in two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fer_edge.engines.base import ExecutedOperator
from fer_edge.engines.tensorrt.api import Api
from fer_edge.engines.tensorrt.callbacks import LOG, logger_for
from fer_edge.engines.tensorrt.errors import started
from fer_edge.errors import EngineError, EngineUnavailableError

if TYPE_CHECKING:
    from tensorrt_types import ICudaEngine

UNKNOWN = "unknown"  # the inspector does not tell
LARGEST = 64 << 20  # characters; hundreds of layers take far less than one of these megabytes
MARK = "[ONNX Layer: "  # how a layer's metadata names each node that went into it
# As a word of "Row major linear FP16 format", or alone.
PRECISIONS = {
    "float": "fp32",
    "fp32": "fp32",
    "half": "fp16",
    "fp16": "fp16",
    "bfloat16": "bf16",
    "bf16": "bf16",
    "int8": "int8",
    "fp8": "fp8",
}
OTHER_TYPES = ("int4", "fp4", "int32", "int64", "uint8", "bool", "double", "uint16", "int16")
# What kernels are called by the two types that they multiply: "sm80_xmma_gemm_i8i8_i8i32_f32_tn".
FACTORS = re.compile(r"_(i8i8|f16f16|bf16bf16|f32f32|e4m3e4m3)_")
FACTOR_PRECISIONS = {"i8i8": "int8", "f16f16": "fp16", "bf16bf16": "bf16", "f32f32": "fp32", "e4m3e4m3": "fp8"}
MULTIPLYING = ("conv", "gemm", "matrixmultiply", "matmul", "correlation", "mha", "attention")
MULTIPLYING_KERNELS = ("gemm", "fprop", "mha")
NOT_OPERATORS = ("constant", "noop", "no-op", "signal", "wait")


def layers_of_plan(api: Api, plan: bytes) -> str | None:
    """The inspector's JSON of an engine that was just built; None where it cannot be loaded here."""
    logger, messages = logger_for(api.trt)
    try:
        runtime = started(api, "runtime", lambda: api.trt.Runtime(logger), messages)
    except EngineUnavailableError as error:
        LOG.warning("%s; the engine's own layers stay unknown", error)  # no reason to lose a finished engine
        return None
    runtime.engine_host_code_allowed = True  # it was just built here
    engine: ICudaEngine | None = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        return None
    return engine.create_engine_inspector().get_engine_information(api.trt.LayerInformationFormat.JSON)


def operators_of_engine(layers: str | None, network: tuple[ExecutedOperator, ...]) -> tuple[ExecutedOperator, ...]:
    """The engine's own account, and the typed network's of what that leaves open.

    A strongly typed engine must keep to its network's types, so a layer that the inspector does not name, or not with a
    type, is taken from there; and so is everything where there is no inspector.

    A text that cannot be read is no reason to lose a finished engine: the log says so, and the network counts.

    Args:
        layers: What the inspector gave; None where it gave nothing.
        network: The operators of the network that the engine was built from.
    """
    try:
        told = () if layers is None else operators_of_layers(layers)
    except EngineError as error:
        LOG.warning("%s; its precision is proven from the network it was built from", error)
        told = ()
    if not told:
        return network
    named = {name for operator in told if operator.precision != UNKNOWN for name in operator.names}
    left = tuple(operator for operator in network if operator.multiplies and not named.issuperset(operator.names))
    return tuple(operator for operator in told if operator.precision != UNKNOWN) + left


def operators_of_layers(text: str) -> tuple[ExecutedOperator, ...]:
    """The operators of the inspector's JSON; none where the engine was built to tell names only.

    Raises:
        EngineError: It is no such JSON.
    """
    return tuple(_operator(layer) for layer in _layers(text) if _is_operator(layer))


def _layers(text: str) -> list[dict[str, Any]]:
    if len(text) > LARGEST:
        raise EngineError(f"the engine inspector gave {len(text) >> 20} MB; expected at most {LARGEST >> 20}")
    try:
        found = json.loads(text, strict=False)  # TensorRT parts names by control characters
    except (ValueError, RecursionError) as error:
        raise EngineError(f"the engine inspector gave no JSON that can be read ({error}): {text[:80]!r}") from error
    layers = found.get("Layers") if isinstance(found, dict) else None
    if not isinstance(layers, list):
        raise EngineError(f"the engine inspector gave no list of Layers: {text[:80]!r}")
    # Names alone, as texts, are what it gives below ProfilingVerbosity.DETAILED.
    return [layer for layer in layers if isinstance(layer, dict)]


def _is_operator(layer: dict[str, Any]) -> bool:
    return _text(layer, "LayerType").lower() not in NOT_OPERATORS


def _operator(layer: dict[str, Any]) -> ExecutedOperator:
    kind, tactic = _text(layer, "LayerType"), _text(layer, "TacticName").lower()
    said = f"{kind} {_text(layer, 'ParameterType')}".lower()
    multiplies = any(word in said for word in MULTIPLYING) or any(word in tactic for word in MULTIPLYING_KERNELS)
    precision = _multiplied(layer, tactic) if multiplies else _given(layer)
    return ExecutedOperator(kind or UNKNOWN, precision, tuple(_names(layer)), multiplies)


def _multiplied(layer: dict[str, Any], tactic: str) -> str:
    """What it multiplies: by the kernel's name, or else by the type of its weights, or of its first input.

    Not by what it gives: an int8 product may leave as fp16, an fp16 one may be quantised on the way out.
    """
    if found := FACTORS.search(tactic):
        return FACTOR_PRECISIONS[found[1]]
    weights = layer.get("Weights")
    if isinstance(weights, dict) and (precision := _precision(_text(weights, "Type"))) != UNKNOWN:
        return precision
    return next((precision for precision in _types(layer, "Inputs")), UNKNOWN)


def _given(layer: dict[str, Any]) -> str:
    return next((precision for precision in _types(layer, "Outputs")), UNKNOWN)


def _types(layer: dict[str, Any], side: str) -> Iterator[str]:
    tensors = layer.get(side)
    for tensor in tensors if isinstance(tensors, list) else ():
        if isinstance(tensor, dict):
            yield _tensor_precision(tensor)


def _tensor_precision(tensor: dict[str, Any]) -> str:
    keys = ("DataType", "Datatype", "Format/Datatype", "Format/DataType", "Format")
    return next((p for p in (_precision(_text(tensor, key)) for key in keys) if p != UNKNOWN), UNKNOWN)


def _precision(text: str) -> str:
    """A type in our words, or in TensorRT's where it is none of ours."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    known = (PRECISIONS.get(word, word) for word in words if word in PRECISIONS or word in OTHER_TYPES)
    return next(known, UNKNOWN)


def _names(layer: dict[str, Any]) -> Iterator[str]:
    """Nodes of the ONNX model: by the metadata, or else those that the layer's own name joins."""
    metadata = _text(layer, "Metadata")
    if MARK in metadata:
        for part in metadata.split(MARK)[1:]:
            yield part.rpartition("]")[0]  # up to the last: our own names have brackets too
    elif "Metadata" not in layer:
        yield from _text(layer, "Name").split(" + ")


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key, "")
    return value if isinstance(value, str) else ""
