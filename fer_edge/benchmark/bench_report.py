"""Result of a benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fer_edge.benchmark.all_scenarios import SCENARIOS
from fer_edge.benchmark.formatting import megabytes
from fer_edge.benchmark.noise import Noise
from fer_edge.benchmark.scenarios.batches import BatchResult
from fer_edge.benchmark.scenarios.cold_start import ColdStart
from fer_edge.benchmark.scenarios.multi_stream import MultiStream
from fer_edge.benchmark.scenarios.on_device import OnDevice
from fer_edge.benchmark.scenarios.open_loop import OpenLoop
from fer_edge.benchmark.scenarios.roofline import Roofline
from fer_edge.benchmark.scenarios.scaling import ScalingPoint
from fer_edge.benchmark.scenarios.single_stream import SingleStream
from fer_edge.benchmark.scenarios.sustained import Sustained
from fer_edge.benchmark.session import PlanSummary
from fer_edge.bundle import Tuning
from fer_edge.evaluation.parity import ParityReport
from fer_edge.results import Result, Table


@dataclass(frozen=True, repr=False)
class BenchReport(Result):
    """Result of a benchmark with its environment. Fields of scenarios that were not measured are None or empty.

    >>> report = fer_edge.bench("edge", scenarios=["single-stream"])
    >>> report.single_stream.latency.p90.value  # milliseconds
    """

    file: str  # path of the bundle
    bundle: str  # name in its manifest
    bundle_sha256: str  # of the file as it was measured
    engine: str
    precision: str
    threads: int | None  # None: the engine's default
    tuned: bool  # True: threads come from the bundle's tuning
    load_ms: float
    memory_mb: float | None  # of this process after the last scenario
    peak_memory_mb: float | None
    noise: dict[str, Noise]  # other load during each scenario
    left_out: dict[str, str]  # reason of each skipped scenario
    plan: PlanSummary
    environment: dict[str, str]
    operators: dict[str, dict[str, int]]  # number of the bundle's nodes by operator and element type
    proven: dict[str, float]  # share of multiply-accumulates by precision, as verified when the engine was built
    single_stream: SingleStream | None = None
    batches: list[BatchResult] = field(default_factory=list)
    on_device: OnDevice | None = None
    open_loop: list[OpenLoop] = field(default_factory=list)
    multi_stream: list[MultiStream] = field(default_factory=list)
    sustained: Sustained | None = None
    cold_start: ColdStart | None = None
    roofline: Roofline | None = None
    scaling: list[ScalingPoint] = field(default_factory=list)
    parity: ParityReport | None = None  # comparison with PyTorch
    tuning: Tuning | None = None  # settings that were written into the bundle
    tuning_reason: str = ""  # why none were written, if a goal was given
    report: str | None = None  # path of the HTML page
    failed: dict[str, str] = field(default_factory=dict)  # reason of each scenario or later step that failed
    stopped: str = ""  # scenario or later step during which Ctrl-C ended the run

    @property
    def passed(self) -> bool:
        """True if no scenario or step failed, parity passed and the tuning met its goal."""
        parity = self.parity is None or self.parity.passed
        return parity and not self.failed and not self.tuning_reason and not self.stopped

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of the scenarios with a result."""
        return tuple(name for name, _ in self._results())

    def tables(self) -> list[Table]:
        """Return the tables of every scenario and of parity."""
        tables = [table for name, result in self._results() for table in SCENARIOS[name].tables(result)]
        return tables if self.parity is None else [*tables, *self.parity.tables()]

    def notes(self) -> list[str]:
        """Return the notes of every scenario, names of disturbed, skipped and failed scenarios, and the environment."""
        lines = [f"{name}: {note}" for name, result in self._results() for note in SCENARIOS[name].notes(result)]
        if self.parity is not None:
            lines += self.parity.notes()
        disturbed = [name for name, noise in self.noise.items() if noise.warnings]
        for title, names in (
            ("disturbed by other load", disturbed),
            ("skipped", self.left_out),
            ("failed", self.failed),
        ):
            if names:
                lines.append(f"{title}: {', '.join(names)}")
        memory = f"{megabytes(self.memory_mb)} now, peak {megabytes(self.peak_memory_mb)}"
        lines.append(f"loading took {self.load_ms:.0f} ms; memory of this process: {memory}")
        threads = f"{self.threads or 'default'}{' (tuned)' if self.tuned else ''}"
        facts = {"engine": self.engine, "threads": threads, **self.environment}
        lines.append(", ".join(f"{name} {value}" for name, value in facts.items()))
        if self.tuning is not None:
            lines.append(self._tuning_note(self.tuning))
        return lines if self.report is None else [*lines, f"report: {self.report}"]

    def __repr__(self) -> str:
        return f"BenchReport(bundle={self.bundle!r}, engine={self.engine!r}, measured={self.measured})"

    def _results(self) -> Iterator[tuple[str, Any]]:
        """Yield name and result of every scenario that has one."""
        for name in SCENARIOS:
            result = getattr(self, name.replace("-", "_"))
            if result is not None and result != []:
                yield name, result

    def _tuning_note(self, tuning: Tuning) -> str:
        streams = "" if tuning.streams == 1 else f", {tuning.streams} recognizers at once"
        return (
            f"{self.file}: tuned for {tuning.machine}: {tuning.engine} with threads {tuning.threads}, batches of "
            f"{tuning.batch}{streams}: engine p99 {tuning.p99_ms:.2f} ms, {tuning.images_per_second:.0f} images/s "
            f"(goal {tuning.target})"
        )
