"""On device: copy and compute times on the GPU's own clock, with the GPU's state during the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fer_edge.benchmark.formatting import percentile_cells
from fer_edge.benchmark.rows import Row, latency_rows, rows_from_fields
from fer_edge.benchmark.scenario import Scenario, Session
from fer_edge.benchmark.scenarios.batches import SIZES
from fer_edge.benchmark.statistics import Distribution, distribution_from_samples
from fer_edge.benchmark.workload import Clock, Workload, clock
from fer_edge.crop import crop_and_resize
from fer_edge.engines.base import DeviceTiming, Runner
from fer_edge.hardware.gpu_state import GpuSampler, GpuState
from fer_edge.results import Table

WARM_UP = 0.3  # seconds in which an idle GPU raises its clocks
WARM_UP_RUNS = 20  # runs between two checks of the warm-up's duration
RUNS = 1000  # minimum; p99 has an upper bound from 368 independent runs on
NANOSECONDS = 1e6  # per millisecond


@dataclass(frozen=True)
class DeviceBatch:
    """Result of one batch size."""

    batch: int
    graph: bool  # True: launched as a CUDA graph; False: layer by layer
    copy_in: Distribution
    compute: Distribution
    copy_out: Distribution
    total: Distribution


@dataclass(frozen=True)
class OnDevice:
    """Result of the on-device scenario."""

    batches: tuple[DeviceBatch, ...]
    gpu: GpuState | None  # state during the run
    gpu_reason: str  # why the state is unknown


def run_on_device(
    runner: Runner,
    workload: Workload,
    seconds: float,
    device: int = 0,
    *,
    now: Clock = clock,
    progress: Callable[[float], None] = lambda share: None,
) -> OnDevice:
    """Time every batch size up to the runner's largest, with and without a CUDA graph.

    Args:
        runner: Engine to time.
        workload: Frame and face box.
        seconds: Minimum duration of all sizes together, without warm-up; each runs at least 1,000 times.
        device: CUDA index of the GPU whose clocks are sampled.
        now: Clock of the CPU.
        progress: Callback that receives the finished share, 0 to 1.
    """
    runner.input_buffer()[:] = crop_and_resize(workload.frame, workload.box)
    settings = [(size, graph) for size in SIZES if size <= runner.max_batch for graph in (True, False)]
    batches = []
    with GpuSampler(device) as sampler:
        for done, (size, graph) in enumerate(settings):
            progress(done / len(settings))
            timing = _time(runner, size, graph, seconds / len(settings), now)
            if timing is not None:
                total = timing.copy_in + timing.compute + timing.copy_out
                parts = [distribution_from_samples(part * NANOSECONDS) for part in (*timing, total)]
                batches.append(DeviceBatch(size, graph, *parts))
    return OnDevice(tuple(batches), sampler.state, sampler.reason)


def _time(runner: Runner, batch: int, graph: bool, seconds: float, now: Clock) -> DeviceTiming | None:
    """Time one batch size after the GPU's warm-up; return None if it cannot be launched this way."""
    begin = now()
    while now() < begin + WARM_UP * 1e9:
        if runner.time_on_device(batch, WARM_UP_RUNS, graph=graph) is None:
            return None
    timings: list[DeviceTiming] = []
    begin = now()
    while not timings or now() < begin + seconds * 1e9:
        timing = runner.time_on_device(batch, RUNS, graph=graph)
        assert timing is not None, "the warm-up has shown that this launch works"
        timings.append(timing)
    return DeviceTiming(*(np.concatenate(parts) for parts in zip(*timings, strict=True)))


class OnDeviceScenario(Scenario[OnDevice]):
    """Times on the GPU's own clock."""

    title = "On the GPU"
    about = "Measured on the GPU's own clock, as a CUDA graph and layer by layer."
    order = 30
    quick = True
    settings = frozenset({"seconds"})

    def unsupported_reason(self, engine: str, runner: Runner, device: int) -> str:
        return "" if runner.has_device else f"{engine} runs on the CPU; on-device timing needs a GPU engine"

    def run(self, session: Session) -> OnDevice:
        runner, plan, device = session.recognizer.runner, session.plan, session.options.device
        return run_on_device(runner, plan.workload, plan.seconds, device, progress=session.progress)

    def tables(self, result: OnDevice) -> list[Table]:
        rows = tuple(
            (
                batch.batch,
                "yes" if batch.graph else "no",
                *(f"{part.p50.value:.3f}" for part in (batch.copy_in, batch.compute, batch.copy_out)),
                *percentile_cells(batch.total),
            )
            for batch in result.batches
        )
        columns = ("batch", "graph", "copy in", "compute", "copy out", "total p50", "p90", "p99")
        return [Table("milliseconds on the GPU's own clock", columns, rows)]

    def notes(self, result: OnDevice) -> list[str]:
        gpu = result.gpu
        if gpu is None:
            return [f"GPU clocks and power are unknown: {result.gpu_reason}"]
        clock, power = gpu.sm_clock_mhz, "" if gpu.power_w is None else f", {gpu.power_w.median:.0f} W"
        return [
            f"{gpu.name}, driver {gpu.driver}: SM clock {clock.least:.0f} to {clock.most:.0f} MHz, "
            f"{gpu.temperature_c.most:.0f} degrees{power}, {gpu.memory_used_mb.most:.0f} MB in use; "
            f"clocks reduced by {', '.join(gpu.held_down_by) or 'nothing'}"
        ]

    def rows(self, result: OnDevice) -> list[Row]:
        rows = []
        for batch in result.batches:
            launch = "graph" if batch.graph else "layer by layer"
            for part in ("copy_in", "compute", "copy_out", "total"):
                setting = f"{batch.batch}, {launch}, {part.replace('_', ' ')}"
                rows += latency_rows(self.name, setting, getattr(batch, part))
        return rows if result.gpu is None else [*rows, *rows_from_fields(self.name, "GPU", result.gpu)]

    def columns(self, result: OnDevice) -> dict[str, str]:
        gpu = result.gpu
        if gpu is None:
            return {}
        reasons = " ".join(gpu.held_down_by) or "nothing"
        return {"GPU": gpu.name, "GPU driver": gpu.driver, "GPU clocks reduced by": reasons}


SCENARIO = OnDeviceScenario()
