"""Operators of a strongly typed TensorRT or TensorRT-RTX network: types that the builder must keep to.

An engine says more (`inspector`), but only where there is a GPU; so this is what a machine without one can prove.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fer_edge.engines.base import ExecutedOperator

if TYPE_CHECKING:
    from tensorrt_types import ILayer, INetworkDefinition, ITensor

# As the bindings of both call element types, without what stands before the dot.
PRECISIONS = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16", "INT8": "int8", "FP8": "fp8"}
MULTIPLYING = {"CONVOLUTION", "MATRIX_MULTIPLY", "DECONVOLUTION"}
# They hand their first input on: a weight may pass them between its dequantisation and the layer that reads it.
PASSING = {"SHUFFLE", "CAST", "IDENTITY"}
NOT_OPERATORS = {"CONSTANT"}


def operators_of_network(network: INetworkDefinition) -> tuple[ExecutedOperator, ...]:
    """The layers of a network, constants left out.

    A product of two dequantised tensors is int8: that is what such a network means, and what builders fuse.
    """
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    makers = {layer.get_output(index).name: layer for layer in layers for index in range(layer.num_outputs)}
    found = []
    for layer in layers:
        kind = _kind(layer)
        if kind in NOT_OPERATORS:
            continue
        factors = [layer.get_input(index) for index in range(min(layer.num_inputs, 2))]
        int8 = kind in MULTIPLYING and len(factors) == 2 and all(_dequantised(factor, makers) for factor in factors)
        # Of the rest, quantisation itself included, what a layer gives says what it computes in.
        element = "INT8" if int8 else str(layer.get_output(0).dtype).rsplit(".", 1)[-1]
        found.append(
            ExecutedOperator(
                kind,
                PRECISIONS.get(element, element.lower()),
                (layer.name,),
                kind in MULTIPLYING,
                reported_by_engine=False,
            )
        )
    return tuple(found)


def _dequantised(tensor: ITensor, makers: dict[str, ILayer]) -> bool:
    maker = makers.get(tensor.name)
    while maker is not None and _kind(maker) in PASSING:
        maker = makers.get(maker.get_input(0).name)
    return maker is not None and _kind(maker) == "DEQUANTIZE"


def _kind(layer: ILayer) -> str:
    return str(layer.type).rsplit(".", 1)[-1]
