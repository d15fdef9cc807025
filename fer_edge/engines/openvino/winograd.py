"""Winograd convolutions for OpenVINO's CPU plugin, which has no Winograd kernel.

A 3 x 3 convolution is rewritten by Winograd's minimal filtering F(4, 3) (Lavin and Gray, CVPR 2016) along the height: 4
output rows need 6 products instead of 12. One small matrix product transforms the input rows, padding included, six
1 x 3 convolutions follow, and another matrix product gives the output rows. With one transformed dimension only, both
transforms are plain matrix products in the plugin's memory layout (channels last), and rounding errors are about 1e-6
of the largest value.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fer_edge.engines.openvino.core import openvino

Floats = npt.NDArray[np.float32]

TILE = 4  # output rows per tile
POINTS = 6  # input rows per tile, and products per tile
# With fewer channels the transforms cost more than they save. Measured on an AVX-512 CPU: 256 channels at 14 x 14 and
# 128 at 28 x 28 take 0.82 to 0.86 of the time; 64 channels, at 14 x 14 or 56 x 56, take longer than before.
MIN_CHANNELS = 128

# Toom-Cook matrices for the points 0, 1, -1, 2, -2 and infinity: `OUTPUT @ ((KERNEL @ k) * (INPUT @ x))` is the
# correlation of `x` with `k`.
INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float64,
)
KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float64) / 24
OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float64)
# A constant added to the product of the point 1 is added once to every output row, so the bias goes there.
BIAS_POINT = 1


class RowTransforms(NamedTuple):
    """Matrices of both transforms for maps of `height` rows, including the zero padding of one row."""

    forward: Floats  # (POINTS * tiles, height)
    backward: Floats  # (height, POINTS * tiles)
    tiles: int


def row_transforms(height: int) -> RowTransforms:
    """Compute the transforms for maps of `height` rows; the last tile may extend beyond the border."""
    tiles = -(-height // TILE)
    forward = np.zeros((POINTS, tiles, height))
    backward = np.zeros((height, POINTS, tiles))
    for tile in range(tiles):
        first = tile * TILE - 1  # first input row: one above the tile
        rows = range(max(first, 0), min(first + POINTS, height))
        forward[:, tile, rows.start : rows.stop] = INPUT[:, rows.start - first : rows.stop - first]
        written = range(tile * TILE, min((tile + 1) * TILE, height))
        backward[written.start : written.stop, :, tile] = OUTPUT[: len(written)]
    return RowTransforms(
        forward.reshape(POINTS * tiles, height).astype(np.float32),
        backward.reshape(height, POINTS * tiles).astype(np.float32),
        tiles,
    )


def transform_kernel(weight: npt.NDArray[np.floating[Any]]) -> Floats:
    """Transform weights (out, in, 3, 3) to (POINTS, out, in, 1, 3)."""
    points = np.tensordot(KERNEL, weight.astype(np.float64), axes=(1, 2))  # (POINTS, out, in, 3)
    return np.ascontiguousarray(points[:, :, :, None, :], np.float32)


def rewrite_convolutions(network: Any) -> int:
    """Rewrite the wide 3 x 3 float32 convolutions of an `openvino.Model` whose batch is fixed to one image.

    Returns:
        Number of rewritten convolutions.
    """
    blocks = [block for node in network.get_ordered_ops() if (block := _match_block(node)) is not None]
    for block in blocks:
        block.last.output(0).replace(_rewrite(block).output(0))
    if blocks:
        network.validate_nodes_and_infer_types()
    return len(blocks)


class _Block(NamedTuple):
    """A convolution with the bias and PReLU slopes that follow it."""

    convolution: Any
    weight: npt.NDArray[Any]
    bias: npt.NDArray[Any] | None
    slope: npt.NDArray[Any] | None
    last: Any  # the node whose output is replaced


def _match_block(node: Any) -> _Block | None:
    """Return the block of a convolution that gains from the rewrite; None for every other node."""
    if node.get_type_name() != "Convolution" or node.get_output_element_type(0).to_dtype() != np.float32:
        return None
    weight = _constant(node, 1)
    if weight is None or weight.shape[2:] != (3, 3) or min(weight.shape[:2]) < MIN_CHANNELS:
        return None
    attributes = node.get_attributes()
    window = [attributes[name] for name in ("strides", "dilations", "pads_begin", "pads_end")]
    shape = node.input(0).get_partial_shape()
    if any(list(values) != [1, 1] for values in window) or shape.is_dynamic or shape.to_shape()[0] != 1:
        return None
    last, bias, slope = node, None, None
    consumer = _only_consumer(last)
    if consumer is not None and consumer.get_type_name() == "Add":
        bias = along_channels(_constant(consumer, 1), len(weight))
        last = last if bias is None else consumer
        consumer = None if bias is None else _only_consumer(last)
    if consumer is not None and consumer.get_type_name() == "PRelu":
        slope = _constant(consumer, 1)  # PRelu has one slope per channel, whatever the shape of the constant
        slope = slope if slope is not None and slope.size == len(weight) else None
        last = last if slope is None else consumer
    return _Block(node, weight, bias, slope, last)


def _rewrite(block: _Block) -> Any:
    """Create the replacement. Its outer transposes cost little: the plugin stores maps channels-last anyway."""
    ops = openvino().opset13

    # Read the input here: replacing an earlier block may have changed it since the match.
    source = block.convolution.input_value(0)
    _, channels, height, width = source.get_shape()
    filters, name = len(block.weight), block.convolution.get_friendly_name()
    forward, backward, tiles = row_transforms(height)

    def shape(*sizes: int) -> Any:
        return ops.constant(np.array(sizes, np.int64))

    x = ops.reshape(ops.transpose(source, shape(0, 2, 3, 1)), shape(1, height, width * channels), False)
    x = ops.matmul(ops.constant(forward[None]), x, False, False)
    # Points are stacked along the batch axis, which the plugin splits and concatenates without copying.
    points = ops.split(ops.reshape(x, shape(POINTS, tiles, width, channels), False), ops.constant(np.int64(0)), POINTS)
    products = []
    for point, kernel in enumerate(transform_kernel(block.weight)):
        part = ops.transpose(points.output(point), shape(0, 3, 1, 2))  # (1, channels, tiles, width)
        product = ops.convolution(part, ops.constant(kernel), [1, 1], [0, 1], [0, 1], [1, 1])
        product.set_friendly_name(f"{name}/point{point}")  # lets the precision proof find it
        if point == BIAS_POINT and block.bias is not None:
            product = ops.add(product, ops.constant(block.bias.reshape(1, filters, 1, 1)))
        products.append(product)  # (1, filters, tiles, width)
    y = ops.transpose(ops.concat(products, 0), shape(0, 2, 3, 1))  # (POINTS, tiles, width, filters)
    y = ops.reshape(y, shape(1, POINTS * tiles, width * filters), False)
    y = ops.matmul(ops.constant(backward[None]), y, False, False)
    y = ops.reshape(y, shape(1, height, width, filters), False)
    if block.slope is not None:
        y = ops.prelu(y, ops.constant(block.slope.reshape(filters)))
    return ops.transpose(y, shape(0, 3, 1, 2))  # (1, filters, height, width)


def _constant(node: Any, port: int) -> npt.NDArray[Any] | None:
    source = node.input_value(port).get_node()
    return source.data if source.get_type_name() == "Constant" else None


def along_channels(values: npt.NDArray[Any] | None, channels: int) -> npt.NDArray[Any] | None:
    """Return the values if their shape gives one value per channel of (N, C, H, W), else None."""
    return values if values is not None and values.shape in ((channels, 1, 1), (1, channels, 1, 1)) else None


def _only_consumer(node: Any) -> Any:
    consumers = list(node.output(0).get_target_inputs())
    return consumers[0].get_node() if len(consumers) == 1 else None
