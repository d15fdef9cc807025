"""Layer times and peak speeds of OpenVINO, from its performance counters."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.engines.base import IMAGE_SIZE, Artifact, RunOptions
from fer_edge.engines.capabilities import INT8, Layer, Peak, Profiler
from fer_edge.engines.openvino.core import openvino, rt_info
from fer_edge.engines.openvino.engine import ENGINE

PROFILING = {"PERF_COUNT": True}
# Side of the matrices. One product takes less than a time slice of the scheduler, so that some products run
# undisturbed on a busy machine.
SIZE = 512
CHAIN = 3  # operators per network
CHANNELS, MAP = 256, 28  # channels and side length of the maps of the convolutions
COPIED = 16 << 20  # float32 values, 64 MiB: together with the result, larger than the caches
KERNELS = ("FullyConnected", "MatMul", "Convolution")  # the plugin's types of the measured nodes
BITS = {"f32": 32, "i32": 32, "u32": 32, "f16": 16, "bf16": 16, "i64": 64, "u64": 64}  # other types have 8


class OpenVINOProfiler(Profiler):
    """Profiler of the CPU plugin with performance counters enabled."""

    def layers(self, artifact: Artifact, options: RunOptions, repeats: int) -> list[Layer]:
        network = ENGINE.network_for_one(artifact.model)
        macs = {node.get_friendly_name(): _macs_of_node(node) for node in network.get_ordered_ops()}
        model = ENGINE.compile_network(network, options, PROFILING)
        images = np.random.default_rng(0).integers(0, 256, (1, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        times = _node_times(model, images, repeats)
        nodes = {node.get_friendly_name(): node for node in model.get_runtime_model().get_ordered_ops()}
        return [_layer(nodes[name], _interquartile_mean(values), macs) for name, values in times.items()]

    def peaks(self, options: RunOptions, repeats: int) -> list[Peak]:
        product, convolution = SIZE**3, CHANNELS**2 * 9 * MAP**2  # multiply-accumulates of one operator
        peaks = [
            _peak("fp32 GEMM", _products(), product, options, repeats),
            _peak("fp32 convolution", _convolutions(), convolution, options, repeats),
            _peak("int8 GEMM", _products(quantised=True), product, options, repeats),
            _peak("int8 convolution", _convolutions(quantised=True), convolution, options, repeats),
            _peak("memory", _copy(), 2 * 4 * COPIED, options, repeats),
        ]
        # On a processor without 8-bit kernels, the int8 networks ran in another precision: drop their peaks.
        return [peak for peak in peaks if peak.name.startswith("int8") == (peak.precision in INT8)]


def _node_times(model: Any, inputs: npt.NDArray[Any], repeats: int) -> dict[str, list[float]]:
    """Return the microseconds of every executed node in each repeat, after one warm-up run."""
    executed = openvino().ProfilingInfo.Status.EXECUTED
    request = model.create_infer_request()
    times: dict[str, list[float]] = defaultdict(list)
    for repeat in range(repeats + 1):
        request.infer([inputs], share_inputs=True, share_outputs=True)
        for node in request.get_profiling_info() if repeat else ():
            if node.status == executed:
                times[node.node_name].append(node.real_time.total_seconds() * 1e6)
    return times


def _interquartile_mean(microseconds: list[float]) -> float:
    """Return the mean of the middle half: the counters' resolution is 1 us, and some runs are disturbed."""
    ordered, quarter = sorted(microseconds), len(microseconds) // 4
    middle = ordered[quarter : len(ordered) - quarter]
    return sum(middle) / len(middle)


def _layer(node: Any, microseconds: float, network_macs: dict[str, int]) -> Layer:
    inputs = [node.input_value(port).get_node() for port in range(node.get_input_size())]
    bits = [math.prod(_shape(tensor)) * _bits(tensor) for tensor in (*inputs, node)]
    sources = tuple(name for name in rt_info(node, "originalLayersNames").split(",") if name)
    # The plugin renames products when it converts them to its own kernels; all other fused nodes keep their names.
    own_macs = _macs(rt_info(node, "layerType"), [_shape(tensor) for tensor in inputs], _shape(node))
    return Layer(
        name=node.get_friendly_name(),
        kind=rt_info(node, "layerType"),
        kernel=rt_info(node, "primitiveType"),
        precision=rt_info(node, "runtimePrecision"),
        sources=sources,
        microseconds=microseconds,
        macs=own_macs or sum(network_macs.get(name, 0) for name in sources),
        bytes=sum(bits) // 8,
    )


def _macs_of_node(node: Any) -> int:
    """Return the multiply-accumulates of a node of the network, before the plugin fuses nodes."""
    inputs = [tuple(node.get_input_shape(port)) for port in range(node.get_input_size())]
    return _macs(node.get_type_name(), inputs, _shape(node)) if inputs else 0


def _macs(kind: str, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
    """Return the multiply-accumulates of a convolution or matrix product, from its shapes; 0 for other operators."""
    values = math.prod(output)
    if kind in ("Convolution", "GroupConvolution"):
        return values * math.prod(inputs[1]) // output[1]  # weights are (out, in / groups, height, width)
    if kind in ("FullyConnected", "MatMul"):
        # The first factor, transposed or not, has the output's rows and the summed dimension.
        return values * math.prod(inputs[0]) // math.prod(output[:-1])
    return 0


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(node.get_output_shape(0))


def _bits(node: Any) -> int:
    return BITS.get(rt_info(node, "outputPrecisions").split(",")[0], 8)


def _peak(name: str, network: Any, work: int, options: RunOptions, repeats: int) -> Peak:
    """Return the highest speed of the operators of a network.

    Args:
        name: Name of the peak.
        network: Chain of operators of one kind.
        work: Multiply-accumulates, or bytes, of one operator.
        options: Options of the runner.
        repeats: Number of runs.
    """
    model = ENGINE.compile_network(network, options, PROFILING)
    inputs = np.full(model.input(0).shape, 0.5, np.float32)
    times = _node_times(model, inputs, repeats)
    nodes = {node.get_friendly_name(): node for node in model.get_runtime_model().get_ordered_ops()}
    measured = [node_name for node_name in times if rt_info(nodes[node_name], "layerType") in KERNELS]
    fastest = min(measured or times, key=lambda node_name: min(times[node_name]))
    node, seconds = nodes[fastest], min(times[fastest]) / 1e6
    return Peak(name, rt_info(node, "runtimePrecision"), rt_info(node, "primitiveType"), work / seconds)


def _products(*, quantised: bool = False) -> Any:
    """Return a chain of products of square matrices."""
    ops = openvino().opset13

    values = ops.parameter([1, SIZE, SIZE], np.float32)
    chained = values
    for seed in range(CHAIN):
        weight = _weight((SIZE, SIZE), SIZE, seed, quantised)
        chained = ops.matmul(_fake_quantise(chained) if quantised else chained, weight, False, True)
    return _network(_fake_quantise(chained) if quantised else chained, values)


def _convolutions(*, quantised: bool = False) -> Any:
    """Return a chain of 3 x 3 convolutions."""
    ops = openvino().opset13

    values = ops.parameter([1, CHANNELS, MAP, MAP], np.float32)
    chained = values
    for seed in range(CHAIN):
        weight = _weight((CHANNELS, CHANNELS, 3, 3), CHANNELS * 9, seed, quantised)
        source = _fake_quantise(chained) if quantised else chained
        chained = ops.convolution(source, weight, [1, 1], [1, 1], [1, 1], [1, 1])
    return _network(_fake_quantise(chained) if quantised else chained, values)


def _copy() -> Any:
    """Return a ReLU, which reads and writes every value."""
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


def _fake_quantise(values: Any) -> Any:
    """Round to 256 levels by a FakeQuantize, which makes the plugin select 8-bit kernels."""
    ops = openvino().opset13

    low, high = np.float32(0), np.float32(2.55)
    return ops.fake_quantize(values, low, high, low, high, 256)


def _network(result: Any, *inputs: Any) -> Any:
    return openvino().Model([result], list(inputs), "peak")
