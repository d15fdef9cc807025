"""Interface of scenarios: what one measures, how its result is printed and drawn, and the state that all share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from fer_edge.benchmark.drawing import Plot
from fer_edge.benchmark.rows import Row, rows_from_fields
from fer_edge.benchmark.workload import Workload, synthetic_workload
from fer_edge.boxes import XYWH
from fer_edge.bundle import Bundle
from fer_edge.engines.base import Runner, RunOptions
from fer_edge.recognizer import Recognizer
from fer_edge.results import Table

R = TypeVar("R")
Stamps = npt.NDArray[np.int64]  # (queries, 1 + stages) nanoseconds: start, and the end of each stage
Advance = Callable[[float], None]  # receives the finished share of a scenario, 0 to 1


@dataclass(frozen=True)
class Plan:
    """Scenarios and their settings."""

    scenarios: tuple[str, ...] | None = None  # None: the quick ones
    required: tuple[str, ...] = ()  # scenarios that must be supported; unsupported others are skipped
    # Minimum number of queries of the single-stream run; by default MLPerf's.
    queries: Annotated[int, Meta(ge=10, le=10**9)] = 1024
    seconds: Annotated[float, Meta(ge=0.1, le=86_400)] = 5.0  # minimum length of each measurement
    minutes: Annotated[float, Meta(ge=0.05, le=10_080)] = 2.0  # length of the sustained run
    # Frames per second of the open loop.
    rates: tuple[Annotated[float, Meta(ge=1, le=100_000)], ...] = (30.0, 60.0, 90.0)
    streams: tuple[int, ...] = (1, 2, 3, 4)
    cold_starts: int = 8  # number of processes; an interval needs at least six
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
    """The bundle under test and the state that every scenario receives."""

    bundle: Bundle  # in memory, so that recognizers are opened from the bytes that were checked once
    engine: str
    options: RunOptions
    plan: Plan
    recognizer: Recognizer
    progress: Advance
    timelines: dict[str, Stamps]  # stamps by scenario, for plots

    def open(self, threads: int) -> Recognizer:
        """Open one more recognizer, with a number of CPU threads."""
        return Recognizer.open(self.bundle, self.engine, options=replace(self.options, threads=threads))

    def part(self, index: int, count: int) -> Advance:
        """Return the progress callback of one of `count` equal parts."""
        return lambda share: self.progress((index + share) / count)


class Scenario(ABC, Generic[R]):
    """A kind of measurement: one module in `scenarios/` with an instance `SCENARIO`.

    The module's name, with dashes, is the scenario's name on the command line; with underscores, it is its key in JSON
    and its attribute of `BenchReport`. The result is a dataclass, or a list of them, whose fields have units by
    `results.Quantity`.

    Attributes:
        title: Heading of its section of the report page.
        about: Text below this heading.
        order: Place among the scenarios; the sustained run has the last place, 90, since it heats the machine.
        quick: Whether it runs by default.
        crowded: Whether it runs more threads than there are cores, on purpose.
        settings: Names of the settings of `bench` that have an effect on it.
        several: Whether the result is a list.
        setting: Setting of the result's rows in CSV files.
    """

    title: str
    about: str = ""
    order: int = 80
    quick: bool = False
    crowded: bool = False
    settings: frozenset[str] = frozenset()
    several: bool = False
    setting: str = ""

    @property
    def name(self) -> str:
        """Name on the command line."""
        return self.key.replace("_", "-")

    @property
    def key(self) -> str:
        """Name in Python and JSON."""
        return type(self).__module__.rpartition(".")[2]

    def unsupported_reason(self, engine: str, runner: Runner, device: int) -> str:
        """Return why it cannot measure an engine; empty if it can.

        Args:
            engine: Name of the engine.
            runner: The loaded engine.
            device: CUDA index of its GPU.
        """
        return ""

    @abstractmethod
    def run(self, session: Session) -> R:
        """Measure the session's bundle.

        Raises:
            FerEdgeError: Failed measurement; the other scenarios still run.
        """

    @abstractmethod
    def tables(self, result: R) -> Sequence[Table]:
        """Return the tables of the command line."""

    def notes(self, result: R) -> Sequence[str]:
        """Return sentences below the tables; none by default."""
        return ()

    def rows(self, result: R) -> Iterable[Row]:
        """Return the values of the CSV file; by default every quantity of the result."""
        parts = result if isinstance(result, list) else [result]
        return [row for part in parts for row in rows_from_fields(self.name, self.setting, part)]

    def columns(self, result: R) -> dict[str, str]:
        """Return columns of the CSV file that are equal in all rows of a run; none by default."""
        return {}

    def page_tables(self, result: R) -> Sequence[Table]:
        """Return the tables of the report page; by default those of the command line."""
        return self.tables(result)

    def plots(self, result: R, stamps: Stamps | None) -> Sequence[Plot]:
        """Return the plots of the report page; none by default.

        Args:
            result: Result of the scenario.
            stamps: Stamps that the scenario stored in `Session.timelines`; None if it stored none.
        """
        return ()

    def tiles(self, result: R) -> Sequence[tuple[str, str]]:
        """Return the most important values as title and text, for the top of the report page; none by default."""
        return ()
