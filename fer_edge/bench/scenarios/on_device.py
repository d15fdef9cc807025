"""On the device: copying and computing apart, by its own clock, with the state it was in meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fer_edge.bench.gpu import GpuSampler, GpuState
from fer_edge.bench.scenarios.batches import SIZES
from fer_edge.bench.statistics import Distribution, distribution_from_samples
from fer_edge.bench.workload import Workload
from fer_edge.engines.base import Runner
from fer_edge.images import crop_and_resize

WARM_UP = 20
REPEATS = 200
NANOSECONDS = 1e6  # in a millisecond


@dataclass(frozen=True)
class DeviceBatch:
    """One batch size."""

    batch: int
    graph: bool  # launched as a CUDA graph, or layer by layer
    copy_in: Distribution
    compute: Distribution
    copy_out: Distribution
    total: Distribution


@dataclass(frozen=True)
class OnDevice:
    """All batch sizes."""

    batches: tuple[DeviceBatch, ...]
    gpu: GpuState | None  # sampled meanwhile
    gpu_reason: str  # why there is none


def run_on_device(
    runner: Runner,
    workload: Workload,
    device: int = 0,
    *,
    sizes: Sequence[int] = SIZES,
    progress: Callable[[float], None] = lambda share: None,
) -> OnDevice | None:
    """Time each batch size that the runner takes, as a graph and without; None where there is no device to ask.

    Args:
        runner: The engine.
        workload: What it runs.
        device: Which GPU's clocks to sample.
        sizes: Of batches.
        progress: Told the share that is done.
    """
    if not runner.has_device:
        return None
    runner.input_buffer()[:] = crop_and_resize(workload.frame, workload.box)
    taken = [(size, graph) for size in sizes if size <= runner.max_batch for graph in (True, False)]
    found = []
    with GpuSampler(device) as sampler:
        for done, (size, graph) in enumerate(taken):
            progress(done / len(taken))
            runner.time_on_device(size, WARM_UP, graph=graph)
            timing = runner.time_on_device(size, REPEATS, graph=graph)
            if timing is not None:
                total = timing.copy_in + timing.compute + timing.copy_out
                parts = [distribution_from_samples(part * NANOSECONDS) for part in (*timing, total)]
                found.append(DeviceBatch(size, graph, *parts))
    return OnDevice(tuple(found), sampler.state, sampler.reason)
