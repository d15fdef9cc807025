"""Latency of a recognizer, stage by stage, on this machine."""

from __future__ import annotations

import datetime
import gc
import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fer_edge.bench.gpu import GpuSampler, GpuState
from fer_edge.engines.base import Runner
from fer_edge.images import crop_and_resize
from fer_edge.recognizer import Recognizer

PERCENTILES = (50, 90, 95, 99)
WARM_UP = 20
DEVICE_REPEATS = 200
PACKAGES = (
    *("fer-edge", "numpy", "openvino", "onnxruntime", "torch"),
    *("tensorrt", "tensorrt-rtx", "pycuda", "cuda-bindings"),
)
STAGES = ("preprocess", "inference", "postprocess")


@dataclass(frozen=True)
class Latency:
    """Milliseconds."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True)
class BatchResult:
    """One batch size of the sweep."""

    batch: int
    latency: Latency
    images_per_second: float


@dataclass(frozen=True)
class DeviceResult:
    """One batch size on the device's own clock, in milliseconds."""

    batch: int
    graph: bool  # launched as a CUDA graph, or layer by layer
    copy_in: Latency
    compute: Latency
    copy_out: Latency
    total: Latency


@dataclass(frozen=True)
class BenchReport:
    """All that was measured, and where."""

    queries: int
    load_ms: float
    total: Latency
    stages: dict[str, Latency]
    sweep: list[BatchResult]
    peak_memory_mb: float | None
    environment: dict[str, str]
    device: list[DeviceResult]  # empty where the engine has no device of its own
    gpu: GpuState | None  # sampled while the device was timed
    gpu_reason: str  # why there is none, where there should be


def summarise(nanoseconds: npt.NDArray[np.int64]) -> Latency:
    """Mean, percentiles and maximum of samples."""
    values = [float(value) / 1e6 for value in np.percentile(nanoseconds, PERCENTILES)]
    return Latency(
        float(nanoseconds.mean()) / 1e6, values[0], values[1], values[2], values[3], float(nanoseconds.max()) / 1e6
    )


def bench_recognizer(
    open_recognizer: Callable[[], Recognizer],
    frame: npt.NDArray[np.uint8],
    *,
    queries: int = 1000,
    seconds: float = 10.0,
    sweep: tuple[int, ...] = (1, 2, 4, 8, 16, 32),
    device: int = 0,
) -> BenchReport:
    """Time one face after the other, then batches.

    Args:
        open_recognizer: Loads what is timed; loading is timed too.
        frame: uint8 RGB (H, W, 3), used as a face crop.
        queries: Stop after so many,
        seconds: or after so long, whichever comes first.
        sweep: Batch sizes to time afterwards.
        device: Which GPU's clocks to sample, where the engine runs on one.
    """
    started = time.perf_counter_ns()
    with open_recognizer() as recognizer:
        load_ms = (time.perf_counter_ns() - started) / 1e6
        samples = _time_stages(recognizer, frame, queries, seconds)
        results = [
            _time_batch(recognizer.runner, frame, batch, seconds / 5)
            for batch in sweep
            if batch <= recognizer.runner.max_batch
        ]
        with GpuSampler(device) if recognizer.runner.has_device else nullcontext() as sampler:
            on_device = _time_device(recognizer.runner, frame, sweep)
    return BenchReport(
        queries=len(samples),
        load_ms=load_ms,
        total=summarise(samples.sum(axis=1)),
        stages={name: summarise(samples[:, index]) for index, name in enumerate(STAGES)},
        sweep=results,
        peak_memory_mb=peak_memory_mb(),
        environment=environment(),
        device=on_device,
        gpu=sampler.state if sampler is not None else None,
        gpu_reason=sampler.reason if sampler is not None else "",
    )


def _time_stages(
    recognizer: Recognizer, frame: npt.NDArray[np.uint8], queries: int, seconds: float
) -> npt.NDArray[np.int64]:
    for _ in range(WARM_UP):
        recognizer.recognize(frame)
    samples = np.zeros((queries, len(STAGES)), np.int64)
    boxes = [None]
    clock = time.perf_counter_ns
    gc.collect()
    gc.disable()
    try:
        deadline = clock() + int(seconds * 1e9)
        done = 0
        while done < queries and (done == 0 or clock() < deadline):
            a = clock()
            images = recognizer.preprocess(frame, boxes)
            b = clock()
            prediction = recognizer.runner.infer(images)
            c = clock()
            recognizer.postprocess(prediction)
            samples[done] = b - a, c - b, clock() - c
            done += 1
    finally:
        gc.enable()
    return samples[:done]


def _time_batch(runner: Runner, frame: npt.NDArray[np.uint8], batch: int, seconds: float) -> BatchResult:
    images = np.repeat(crop_and_resize(frame)[None], batch, axis=0)
    runner.infer(images)
    samples: list[int] = []
    deadline = time.perf_counter_ns() + int(seconds * 1e9)
    while len(samples) < 5 or (time.perf_counter_ns() < deadline and len(samples) < 200):
        started = time.perf_counter_ns()
        runner.infer(images)
        samples.append(time.perf_counter_ns() - started)
    latency = summarise(np.array(samples))
    return BatchResult(batch, latency, 1000 * batch / latency.p50)


def _time_device(runner: Runner, frame: npt.NDArray[np.uint8], sweep: tuple[int, ...]) -> list[DeviceResult]:
    """Copying and computing apart, as a graph and without, where the engine can tell."""
    results: list[DeviceResult] = []
    if not runner.has_device:
        return results
    runner.input_buffer()[:] = crop_and_resize(frame)
    for batch in (size for size in sweep if size <= runner.max_batch):
        for graph in (True, False):
            runner.time_on_device(batch, WARM_UP, graph=graph)
            timing = runner.time_on_device(batch, DEVICE_REPEATS, graph=graph)
            if timing is not None:
                total = timing.copy_in + timing.compute + timing.copy_out
                parts = [summarise((part * 1e6).astype(np.int64)) for part in (*timing, total)]
                results.append(DeviceResult(batch, graph, *parts))
    return results


def synthetic_frame(size: int = 112, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A smooth random picture: latency does not depend on content, but denormals and zeros would flatter it."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC))


def peak_memory_mb() -> float | None:
    """Largest resident size of this process; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024


def environment() -> dict[str, str]:
    """What a figure cannot be read without."""
    packages = {}
    for name in (
        "fer-edge",
        "numpy",
        "openvino",
        "onnxruntime",
        "torch",
        "tensorrt",
        "tensorrt-rtx",
        "pycuda",
        "cuda-bindings",
    ):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu_name(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **packages,
    }


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
