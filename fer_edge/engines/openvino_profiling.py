"""OpenVINO's layers and peaks, from its own performance counters."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.engines.base import IMAGE_SIZE, Artifact, RunOptions
from fer_edge.engines.openvino import ENGINE, openvino
from fer_edge.engines.profiling import INT8, Layer, Peak, Profiler

PROFILING = {"PERF_COUNT": True}
SIZE = 512  # of the matrices: one product fits a slice of the scheduler, so that some run undisturbed on a busy machine
CHAIN = 3
CHANNELS, MAP = 256, 28  # of the convolutions
COPIED = 16 << 20  # numbers, 64 MiB: with the result, more than caches hold
KERNELS = ("FullyConnected", "MatMul", "Convolution")  # what the plugin calls the nodes that do the work
BITS = {"f32": 32, "i32": 32, "u32": 32, "f16": 16, "bf16": 16, "i64": 64, "u64": 64}  # others have 8


class OpenVINOProfiler(Profiler):
    """The CPU plugin with its counters on."""

    def layers(self, artifact: Artifact, options: RunOptions, repeats: int) -> list[Layer]:
        network = ENGINE.network_for_one(artifact.model)
        inside = {node.get_friendly_name(): _macs_of_node(node) for node in network.get_ordered_ops()}
        model = ENGINE.compile_network(network, options, PROFILING)
        images = np.random.default_rng(0).integers(0, 256, (1, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        times = _node_times(model, images, repeats)
        nodes = {node.get_friendly_name(): node for node in model.get_runtime_model().get_ordered_ops()}
        return [_layer(nodes[name], _middle(spent), inside) for name, spent in times.items()]

    def peaks(self, options: RunOptions, repeats: int) -> list[Peak]:
        product, taps = SIZE**3, CHANNELS**2 * 9 * MAP**2
        found = [
            _peak("fp32 GEMM", _products(), product, options, repeats),
            _peak("fp32 convolution", _convolutions(), taps, options, repeats),
            _peak("int8 GEMM", _products(quantised=True), product, options, repeats),
            _peak("int8 convolution", _convolutions(quantised=True), taps, options, repeats),
            _peak("memory", _copy(), 2 * 4 * COPIED, options, repeats),
        ]
        # A processor without 8-bit kernels has no such peak.
        return [peak for peak in found if peak.name.startswith("int8") == (peak.precision in INT8)]


def _node_times(model: Any, inputs: npt.NDArray[Any], repeats: int) -> dict[str, list[float]]:
    """Microseconds of every node that ran, for each repeat, after one that does not count."""
    executed = openvino().ProfilingInfo.Status.EXECUTED
    request = model.create_infer_request()
    times: dict[str, list[float]] = defaultdict(list)
    for repeat in range(repeats + 1):
        request.infer([inputs], share_inputs=True, share_outputs=True)
        for node in request.get_profiling_info() if repeat else ():
            if node.status == executed:
                times[node.node_name].append(node.real_time.total_seconds() * 1e6)
    return times


def _middle(microseconds: list[float]) -> float:
    """Mean of the middle half: the counters have whole microseconds, and some runs are disturbed."""
    ordered, quarter = sorted(microseconds), len(microseconds) // 4
    kept = ordered[quarter : len(ordered) - quarter]
    return sum(kept) / len(kept)


def _layer(node: Any, microseconds: float, inside: dict[str, int]) -> Layer:
    inputs = [node.input_value(port).get_node() for port in range(node.get_input_size())]
    bits = [math.prod(_shape(each)) * _bits(each) for each in (*inputs, node)]
    sources = tuple(name for name in _told(node, "originalLayersNames").split(",") if name)
    # The plugin renames products as it turns them into its own kernels; what it fuses otherwise keeps its names.
    own = _macs(_told(node, "layerType"), [_shape(each) for each in inputs], _shape(node))
    return Layer(
        name=node.get_friendly_name(),
        kind=_told(node, "layerType"),
        kernel=_told(node, "primitiveType"),
        precision=_told(node, "runtimePrecision"),
        sources=sources,
        microseconds=microseconds,
        macs=own or sum(inside.get(name, 0) for name in sources),
        bytes=sum(bits) // 8,
    )


def _macs_of_node(node: Any) -> int:
    """Of a node of the network, before the plugin fuses it with others."""
    inputs = [tuple(node.get_input_shape(port)) for port in range(node.get_input_size())]
    return _macs(node.get_type_name(), inputs, _shape(node)) if inputs else 0


def _macs(kind: str, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
    """Multiply-accumulates, from shapes alone; 0 for other kinds."""
    made = math.prod(output)
    if kind in ("Convolution", "GroupConvolution"):
        return made * math.prod(inputs[1]) // output[1]  # weights are (out, in / groups, height, width)
    if kind in ("FullyConnected", "MatMul"):
        # One side of the first factor is the output's rows, whichever way it lies; the other is summed over.
        return made * math.prod(inputs[0]) // math.prod(output[:-1])
    return 0


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(node.get_output_shape(0))


def _bits(node: Any) -> int:
    return BITS.get(_told(node, "outputPrecisions").split(",")[0], 8)


def _told(node: Any, name: str) -> str:
    info = node.get_rt_info()
    return str(info[name].astype(str)) if name in info else ""


def _peak(name: str, network: Any, work: int, options: RunOptions, repeats: int) -> Peak:
    """The best run of the best node of a network whose nodes of one kind do `work` each."""
    model = ENGINE.compile_network(network, options, PROFILING)
    inputs = np.full(model.input(0).shape, 0.5, np.float32)
    times = _node_times(model, inputs, repeats)
    nodes = {node.get_friendly_name(): node for node in model.get_runtime_model().get_ordered_ops()}
    working = [found for found in times if _told(nodes[found], "layerType") in KERNELS]
    best = min(working or times, key=lambda found: min(times[found]))
    told = nodes[best]
    return Peak(name, _told(told, "runtimePrecision"), _told(told, "primitiveType"), work / (min(times[best]) / 1e6))


def _products(*, quantised: bool = False) -> Any:
    """A chain of square matrix products."""
    ops = openvino().opset13

    values = ops.parameter([1, SIZE, SIZE], np.float32)
    chained = values
    for seed in range(CHAIN):
        weight = _weight((SIZE, SIZE), SIZE, seed, quantised)
        chained = ops.matmul(_rounded(chained) if quantised else chained, weight, False, True)
    return _network(_rounded(chained) if quantised else chained, values)


def _convolutions(*, quantised: bool = False) -> Any:
    """A chain of 3 x 3 convolutions."""
    ops = openvino().opset13

    values = ops.parameter([1, CHANNELS, MAP, MAP], np.float32)
    chained = values
    for seed in range(CHAIN):
        weight = _weight((CHANNELS, CHANNELS, 3, 3), CHANNELS * 9, seed, quantised)
        read = _rounded(chained) if quantised else chained
        chained = ops.convolution(read, weight, [1, 1], [1, 1], [1, 1], [1, 1])
    return _network(_rounded(chained) if quantised else chained, values)


def _copy() -> Any:
    """Every number read, changed and written."""
    ops = openvino().opset13

    values = ops.parameter([COPIED], np.float32)
    return _network(ops.relu(values), values)


def _weight(shape: tuple[int, ...], summed: int, seed: int, quantised: bool) -> Any:
    ops = openvino().opset13

    values = np.random.default_rng(seed).standard_normal(shape, np.float32) / summed**0.5
    if not quantised:
        return ops.constant(values)
    scale = np.float32(np.abs(values).max() / 127)
    stored = ops.constant(np.round(values / scale).astype(np.int8))
    return ops.multiply(ops.convert(stored, np.float32), ops.constant(scale))


def _rounded(values: Any) -> Any:
    """To 256 levels and back, which is how the plugin is told to compute in 8 bits."""
    ops = openvino().opset13

    low, high = np.float32(0), np.float32(2.55)
    return ops.fake_quantize(values, low, high, low, high, 256)


def _network(result: Any, *inputs: Any) -> Any:
    return openvino().Model([result], list(inputs), "peak")


PROFILER = OpenVINOProfiler()
