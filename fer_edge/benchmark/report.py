"""Result of a benchmark."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from fer_edge.benchmark.formatting import megabytes
from fer_edge.benchmark.noise import Noise
from fer_edge.benchmark.registry import SCENARIOS
from fer_edge.benchmark.scenario import PlanSummary, Scenario
from fer_edge.evaluation.parity import ParityReport
from fer_edge.results import Quantity, Result, Table, plain_data


@dataclass(frozen=True, repr=False)
class BenchReport(Result):
    """Result of a benchmark with its environment.

    The result of each scenario is an attribute with the scenario's name, in JSON too: None or an empty list if it was
    not measured.

    >>> report = fer_edge.bench("edge", scenarios=["single-stream"])
    >>> report.single_stream.latency.p90.value  # milliseconds
    """

    file: str  # path of the bundle
    bundle: str  # name in its manifest
    bundle_sha256: str  # of the file as it was measured
    engine: str
    precision: str
    threads: int | None  # None: the engine's default
    load_ms: Annotated[float, Quantity("load", "ms")]
    memory_mb: Annotated[float | None, Quantity("memory of the benchmark", "MB")]  # after the last scenario
    peak_memory_mb: Annotated[float | None, Quantity("peak memory of the benchmark", "MB")]
    noise: dict[str, Noise]  # other load during each scenario
    left_out: dict[str, str]  # reason of each skipped scenario
    plan: PlanSummary
    environment: dict[str, str]
    operators: dict[str, dict[str, int]]  # number of the bundle's nodes by operator and element type
    proven: dict[str, float]  # share of multiply-accumulates by precision, as verified when the engine was built
    results: dict[str, Any] = field(default_factory=dict)  # by name of the scenario
    parity: ParityReport | None = None  # comparison with PyTorch
    report: str | None = None  # path of the HTML page
    failed: dict[str, str] = field(default_factory=dict)  # reason of each scenario or later step that failed
    stopped: str = ""  # scenario or later step during which Ctrl-C ended the run

    @property
    def passed(self) -> bool:
        """True if no scenario or step failed, and parity passed."""
        return (self.parity is None or self.parity.passed) and not self.failed and not self.stopped

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of the scenarios with a result."""
        return tuple(scenario.name for scenario, _ in self.results_by_scenario())

    def results_by_scenario(self) -> list[tuple[Scenario[Any], Any]]:
        """Return the scenarios that have a result, and their results."""
        results = [(scenario, self.results.get(name)) for name, scenario in SCENARIOS.items()]
        return [(scenario, result) for scenario, result in results if result not in (None, [])]

    def tables(self) -> list[Table]:
        """Return the tables of every scenario and of parity."""
        tables = [table for scenario, result in self.results_by_scenario() for table in scenario.tables(result)]
        return tables if self.parity is None else [*tables, *self.parity.tables()]

    def notes(self) -> list[str]:
        """Return the notes of every scenario, names of disturbed, skipped and failed scenarios, and the environment."""
        lines = [
            f"{scenario.name}: {note}"
            for scenario, result in self.results_by_scenario()
            for note in scenario.notes(result)
        ]
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
        facts = {"engine": self.engine, "threads": self.threads or "default", **self.environment}
        lines.append(", ".join(f"{name} {value}" for name, value in facts.items()))
        return lines if self.report is None else [*lines, f"report: {self.report}"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, with the result of each scenario under its key."""
        values: dict[str, Any] = {}
        for name, value in vars(self).items():
            results = {scenario.key: getattr(self, scenario.key) for scenario in SCENARIOS.values()}
            values |= results if name == "results" else {name: value}
        return plain_data(values)

    def __getattr__(self, name: str) -> Any:
        """Return the result of a scenario: None or an empty list if it was not measured."""
        scenario = SCENARIOS.get(name.replace("_", "-"))
        if scenario is None or scenario.key != name:
            raise AttributeError(f"no scenario {name}; expected one of: {', '.join(SCENARIOS)}")
        return self.results.get(scenario.name, [] if scenario.several else None)

    def __repr__(self) -> str:
        return f"BenchReport(bundle={self.bundle!r}, engine={self.engine!r}, measured={self.measured})"
