"""Bundle under test, plan, and the state that scenarios share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fer_edge.benchmark.scenarios.cold_start import RUNS
from fer_edge.benchmark.scenarios.open_loop import RATES
from fer_edge.benchmark.scenarios.single_stream import MLPERF_QUERIES, Stamps
from fer_edge.benchmark.workload import Workload, synthetic_workload
from fer_edge.boxes import XYWH
from fer_edge.bundle import Bundle
from fer_edge.recognizer import Recognizer

QUICK = ("single-stream", "batches", "on-device")


@dataclass(frozen=True)
class BenchTarget:
    """The bundle, engine and options under test."""

    bundle: Path
    engine: str | None = None  # None: the first that runs on this machine
    threads: int | None = None  # None: the bundle's tuning, or the engine's default
    device: int = 0  # CUDA index of the GPU
    allow_host_code: bool = False  # permission to run native code of a version-compatible TensorRT engine

    def open(self, threads: int | None = None) -> Recognizer:
        """Open a recognizer.

        Args:
            threads: Number of CPU threads; default: those of the target.
        """
        return Recognizer.open(
            self.bundle, self.engine, threads or self.threads, self.device, allow_host_code=self.allow_host_code
        )


@dataclass(frozen=True)
class Plan:
    """Scenarios and their settings."""

    scenarios: tuple[str, ...] = QUICK
    required: tuple[str, ...] = ()  # scenarios that must be supported; unsupported others are skipped
    queries: int = MLPERF_QUERIES  # minimum number of queries of the single-stream run
    seconds: float = 5.0  # minimum length of each measurement
    minutes: float = 2.0  # length of the sustained run
    rates: tuple[float, ...] = RATES  # frames per second of the open loop
    streams: tuple[int, ...] = (1, 2, 3, 4)
    cold_starts: int = RUNS
    workload: Workload = field(default_factory=synthetic_workload)

    def summary(self) -> PlanSummary:
        """Return the plan, in JSON-ready form."""
        height, width = self.workload.frame.shape[:2]
        settings = (self.queries, self.seconds, self.minutes, self.rates, self.streams)
        return PlanSummary(*settings, self.workload.source, width, height, self.workload.box)


@dataclass(frozen=True)
class PlanSummary:
    """The plan, in JSON-ready form."""

    queries: int
    seconds: float
    minutes: float
    rates: tuple[float, ...]
    streams: tuple[int, ...]
    image: str  # origin of the frame
    width: int  # of the frame, in pixels
    height: int
    box: XYWH | None  # face box; None: the whole frame


@dataclass(frozen=True)
class Session:
    """Shared state that every scenario receives."""

    target: BenchTarget
    plan: Plan
    bundle: Bundle
    recognizer: Recognizer
    threads: int | None  # threads of one inference; None: the engine's default
    progress: Callable[[float], None]  # receives the finished share of the scenario, 0 to 1
    timelines: dict[str, Stamps]  # stamps by scenario, for plots
