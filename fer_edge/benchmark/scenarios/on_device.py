"""On the device: copying and computing apart, by its own clock, with the state it was in meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fer_edge.benchmark.gpu import GpuSampler, GpuState
from fer_edge.benchmark.scenarios.batches import SIZES
from fer_edge.benchmark.scenarios.checks import check_positive
from fer_edge.benchmark.statistics import Distribution, distribution_from_samples
from fer_edge.benchmark.workload import Clock, Workload, clock
from fer_edge.crop import crop_and_resize
from fer_edge.engines.base import DeviceTiming, Runner

WARM_UP = 0.3  # seconds: a GPU that has rested needs some to raise its clocks
WARM_UP_RUNS = 20  # between two looks at the clock
RUNS = 1000  # at least; 368 independent ones are the fewest that give p99 an upper bound
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
    seconds: float,
    device: int = 0,
    *,
    sizes: Sequence[int] = SIZES,
    now: Clock = clock,
    progress: Callable[[float], None] = lambda share: None,
) -> OnDevice | None:
    """Time each batch size that the runner takes, as a graph and without; None where there is no device to ask.

    Args:
        runner: The engine.
        workload: What it runs.
        seconds: How long all of it runs, warm-up apart; each has its share, but no fewer than 1,000 runs.
        device: Which GPU's clocks to sample.
        sizes: Of batches.
        now: The CPU's clock.
        progress: Told the share that is done.

    Raises:
        ConfigError: The seconds are not above 0, or too many to count.
    """
    check_positive("the number of seconds", seconds)
    if not runner.has_device:
        return None
    runner.input_buffer()[:] = crop_and_resize(workload.frame, workload.box)
    taken = [(size, graph) for size in sizes if size <= runner.max_batch for graph in (True, False)]
    found = []
    with GpuSampler(device) as sampler:
        for done, (size, graph) in enumerate(taken):
            progress(done / len(taken))
            timing = _timed(runner, size, graph, seconds / len(taken), now)
            if timing is not None:
                total = timing.copy_in + timing.compute + timing.copy_out
                parts = [distribution_from_samples(part * NANOSECONDS) for part in (*timing, total)]
                found.append(DeviceBatch(size, graph, *parts))
    return OnDevice(tuple(found), sampler.state, sampler.reason)


def _timed(runner: Runner, batch: int, graph: bool, seconds: float, now: Clock) -> DeviceTiming | None:
    """One batch size, on a GPU that is warm."""
    begin = now()
    while now() < begin + WARM_UP * 1e9:
        if runner.time_on_device(batch, WARM_UP_RUNS, graph=graph) is None:
            return None
    times: list[DeviceTiming] = []
    begin = now()
    while not times or now() < begin + seconds * 1e9:
        timing = runner.time_on_device(batch, RUNS, graph=graph)
        assert timing is not None, "a graph does not go"
        times.append(timing)
    return DeviceTiming(*(np.concatenate(parts) for parts in zip(*times, strict=True)))
