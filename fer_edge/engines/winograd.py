"""3 x 3 convolutions with fewer multiplications, for OpenVINO's CPU plugin, which has no such kernel of its own.

Winograd's minimal filtering F(4, 3) (Lavin and Gray, CVPR 2016) along the rows: 4 rows of output cost 6 products
instead of 12. Rows are transformed by one small matrix product each way, padding included; between them stand six
convolutions of 1 x 3. One dimension only, so that both transforms are plain products on the plugin's own memory layout
(channels last), and rounding errors stay near 1e-6 of the largest value.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fer_edge.engines.quiet import import_package

Floats = npt.NDArray[np.float32]

TILE = 4  # rows of output that one tile gives
POINTS = 6  # rows of input that it reads, and products that it takes
# Below, the transforms cost more than the products saved. Measured on an AVX-512 CPU: 256 channels at 14 x 14 and 128
# at 28 x 28 take 0.82 to 0.86 of the time; 64 channels, at 14 x 14 or 56 x 56, take longer than before.
FEWEST_CHANNELS = 128

# Toom-Cook with the points 0, 1, -1, 2, -2 and infinity: `OUTPUT @ ((KERNEL @ k) * (INPUT @ x))` is `k` slid over `x`.
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
# A constant in the product of the point 1 reaches every row of output once: the place for a bias.
BIAS_POINT = 1


class RowTransforms(NamedTuple):
    """Both transforms of a column of `height` rows, zero padding of one row included."""

    forward: Floats  # (POINTS * tiles, height)
    backward: Floats  # (height, POINTS * tiles)
    tiles: int


def row_transforms(height: int) -> RowTransforms:
    """The transforms for maps of a height; the last tile may hang over the border."""
    tiles = -(-height // TILE)
    forward = np.zeros((POINTS, tiles, height))
    backward = np.zeros((height, POINTS, tiles))
    for tile in range(tiles):
        first = tile * TILE - 1  # of the rows read: one above the tile
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
    """(out, in, 3, 3) to (POINTS, out, in, 1, 3)."""
    points = np.tensordot(KERNEL, weight.astype(np.float64), axes=(1, 2))  # (POINTS, out, in, 3)
    return np.ascontiguousarray(points[:, :, :, None, :], np.float32)


def rewrite_convolutions(network: Any) -> int:
    """Replace every float32 convolution of an `openvino.Model` that gains from it, in a network for one image.

    Returns:
        How many were replaced.
    """
    found = [site for node in network.get_ordered_ops() if (site := _site(node)) is not None]
    for site in found:
        site.last.output(0).replace(_rows(site).output(0))
    if found:
        network.validate_nodes_and_infer_types()
    return len(found)


class _Site(NamedTuple):
    """A convolution with the bias and slopes that follow it."""

    convolution: Any
    weight: npt.NDArray[Any]
    bias: npt.NDArray[Any] | None
    slope: npt.NDArray[Any] | None
    last: Any  # the node whose output is replaced


def _site(node: Any) -> _Site | None:
    """The convolution at a node, if it is one to be replaced."""
    if node.get_type_name() != "Convolution" or node.get_output_element_type(0).to_dtype() != np.float32:
        return None
    weight = _constant(node, 1)
    if weight is None or weight.shape[2:] != (3, 3) or min(weight.shape[:2]) < FEWEST_CHANNELS:
        return None
    attributes = node.get_attributes()
    window = [attributes[name] for name in ("strides", "dilations", "pads_begin", "pads_end")]
    shape = node.input(0).get_partial_shape()
    if any(list(values) != [1, 1] for values in window) or shape.is_dynamic or shape.to_shape()[0] != 1:
        return None
    last, bias, slope = node, None, None
    after = _only_reader(last)
    if after is not None and after.get_type_name() == "Add":
        bias = along_channels(_constant(after, 1), len(weight))
        last = last if bias is None else after
        after = None if bias is None else _only_reader(last)
    if after is not None and after.get_type_name() == "PRelu":
        slope = _constant(after, 1)  # PRelu's slopes are one for each channel, whatever their shape
        slope = slope if slope is not None and slope.size == len(weight) else None
        last = last if slope is None else after
    return _Site(node, weight, bias, slope, last)


def _rows(site: _Site) -> Any:
    """The replacement. The outer transposes cost little: the plugin holds maps channels-last anyway."""
    ops = import_package("openvino").opset13

    # Asked for now, not when the site was found: what it reads may have been replaced since.
    source = site.convolution.input_value(0)
    _, channels, height, width = source.get_shape()
    filters, name = len(site.weight), site.convolution.get_friendly_name()
    forward, backward, tiles = row_transforms(height)

    def shape(*sizes: int) -> Any:
        return ops.constant(np.array(sizes, np.int64))

    x = ops.reshape(ops.transpose(source, shape(0, 2, 3, 1)), shape(1, height, width * channels), False)
    x = ops.matmul(ops.constant(forward[None]), x, False, False)
    # Points lie along the batch axis, where the plugin splits and joins without copying.
    points = ops.split(ops.reshape(x, shape(POINTS, tiles, width, channels), False), ops.constant(np.int64(0)), POINTS)
    products = []
    for point, kernel in enumerate(transform_kernel(site.weight)):
        part = ops.transpose(points.output(point), shape(0, 3, 1, 2))  # (1, channels, tiles, width)
        product = ops.convolution(part, ops.constant(kernel), [1, 1], [0, 1], [0, 1], [1, 1])
        product.set_friendly_name(f"{name}/point{point}")  # so that the proof of precision finds it
        if point == BIAS_POINT and site.bias is not None:
            product = ops.add(product, ops.constant(site.bias.reshape(1, filters, 1, 1)))
        products.append(product)  # (1, filters, tiles, width)
    y = ops.transpose(ops.concat(products, 0), shape(0, 2, 3, 1))  # (POINTS, tiles, width, filters)
    y = ops.reshape(y, shape(1, POINTS * tiles, width * filters), False)
    y = ops.matmul(ops.constant(backward[None]), y, False, False)
    y = ops.reshape(y, shape(1, height, width, filters), False)
    if site.slope is not None:
        y = ops.prelu(y, ops.constant(site.slope.reshape(filters)))
    return ops.transpose(y, shape(0, 3, 1, 2))  # (1, filters, height, width)


def _constant(node: Any, port: int) -> npt.NDArray[Any] | None:
    source = node.input_value(port).get_node()
    return source.data if source.get_type_name() == "Constant" else None


def along_channels(values: npt.NDArray[Any] | None, channels: int) -> npt.NDArray[Any] | None:
    """The values, if they add one to each channel of (N, C, H, W)."""
    return values if values is not None and values.shape in ((channels, 1, 1), (1, channels, 1, 1)) else None


def _only_reader(node: Any) -> Any:
    readers = list(node.output(0).get_target_inputs())
    return readers[0].get_node() if len(readers) == 1 else None
