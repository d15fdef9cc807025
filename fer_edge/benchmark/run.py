"""Runs the scenarios that were asked for on one bundle, and says what else the machine did meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fer_edge._files import file_sha256
from fer_edge.benchmark.environment import environment, gpu_environment, memory_mb, peak_memory_mb
from fer_edge.benchmark.measurable import measurable
from fer_edge.benchmark.noise import Noise, NoiseMonitor
from fer_edge.benchmark.roofline import Roofline, measure_roofline
from fer_edge.benchmark.scenarios.batches import BatchResult, run_batches
from fer_edge.benchmark.scenarios.cold_start import RUNS, ColdStart, run_cold_start
from fer_edge.benchmark.scenarios.multi_stream import MultiStream, run_streams
from fer_edge.benchmark.scenarios.on_device import OnDevice, run_on_device
from fer_edge.benchmark.scenarios.open_loop import RATES, OpenLoop, run_open_loop
from fer_edge.benchmark.scenarios.scaling import ScalingPoint, run_scaling
from fer_edge.benchmark.scenarios.single_stream import (
    MLPERF_QUERIES,
    SingleStream,
    Stamps,
    run_queries,
    summarise_single_stream,
)
from fer_edge.benchmark.scenarios.sustained import Sustained, run_sustained
from fer_edge.benchmark.workload import Workload, recognition, synthetic_workload
from fer_edge.bundle import Bundle, EngineEntry
from fer_edge.crop import Box
from fer_edge.engines.registry import get_engine
from fer_edge.errors import FerEdgeError
from fer_edge.evaluation.parity import ParityReport
from fer_edge.machine import cores
from fer_edge.recognizer import Recognizer

QUICK = ("single-stream", "batches", "on-device")
CROWDED = ("multi-stream", "scaling")  # more threads than processors, on purpose
SCALING = 4  # times the seconds of one measurement, for all combinations together


@dataclass(frozen=True)
class BenchTarget:
    """What is measured."""

    bundle: Path
    engine: str | None = None  # None: the bundle's first
    threads: int | None = None  # None: as the bundle was tuned, or the engine's default
    device: int = 0  # which GPU
    allow_host_code: bool = False  # of a version-compatible TensorRT engine

    def open(self, threads: int | None = None) -> Recognizer:
        """A recognizer of its own, on other threads where told."""
        return Recognizer.open(
            self.bundle,
            self.engine,
            threads or self.threads,
            self.device,
            allow_host_code=self.allow_host_code,
        )


@dataclass(frozen=True)
class Plan:
    """What is done with it."""

    scenarios: tuple[str, ...] = QUICK
    named: tuple[str, ...] = ()  # of these; what cannot be measured of them is an error, of the others it is left out
    queries: int = MLPERF_QUERIES  # a single stream's fewest
    seconds: float = 5.0  # of each measurement, at least
    minutes: float = 2.0  # of the sustained run
    rates: tuple[float, ...] = RATES  # frames a second of the open loop
    streams: tuple[int, ...] = (1, 2, 3, 4)
    cold_starts: int = RUNS
    workload: Workload = field(default_factory=synthetic_workload)


@dataclass(frozen=True)
class Asked:
    """A plan as a report tells it."""

    queries: int
    seconds: float
    minutes: float
    rates: tuple[float, ...]
    streams: tuple[int, ...]
    image: str  # where the frame is from
    width: int  # of the frame, in pixels
    height: int
    box: Box | None  # the face; None: the whole frame


@dataclass(frozen=True)
class BenchReport:
    """All that was measured, and where; None or empty: not asked for, or left out."""

    bundle: str
    bundle_sha256: str  # of the file as it was measured
    engine: str
    precision: str
    threads: int | None  # None: the engine's default
    tuned: bool  # whether the threads are those that the bundle was tuned to
    load_ms: float
    memory_mb: float | None  # of this process, when all was done
    peak_memory_mb: float | None
    noise: dict[str, Noise]  # by scenario: what else the machine did meanwhile
    left_out: dict[str, str]  # scenarios that cannot be measured here, and why
    asked: Asked
    environment: dict[str, str]
    operators: dict[str, dict[str, int]]  # of the bundle: operator -> element type -> nodes
    proven: dict[str, float]  # precision -> share of multiplications, as the engine was found to run when it was built
    single_stream: SingleStream | None = None
    batches: list[BatchResult] = field(default_factory=list)
    on_device: OnDevice | None = None  # None also where the engine has no device of its own
    open_loop: list[OpenLoop] = field(default_factory=list)
    multi_stream: list[MultiStream] = field(default_factory=list)
    sustained: Sustained | None = None
    cold_start: ColdStart | None = None
    roofline: Roofline | None = None
    scaling: list[ScalingPoint] = field(default_factory=list)
    parity: ParityReport | None = None  # with PyTorch
    failed: dict[str, str] = field(default_factory=dict)  # scenarios that broke off, and why
    stopped: str = ""  # scenario in which Ctrl-C ended the run; those behind it were not begun


Told = Callable[[float], None]


@dataclass(frozen=True)
class Session:
    """What a scenario gets."""

    subject: BenchTarget
    plan: Plan
    bundle: Bundle
    recognizer: Recognizer
    threads: int | None  # of one inference: as told, as the bundle was tuned, or None for the engine's default
    told: Told
    timelines: dict[str, Stamps]  # raw stamps, for pictures


def _single_stream(session: Session) -> SingleStream:
    query = recognition(session.recognizer, session.plan.workload)
    stamps = run_queries(query, session.plan.queries, session.plan.seconds, progress=session.told)
    session.timelines["single-stream"] = stamps
    return summarise_single_stream(stamps)


def _batches(session: Session) -> list[BatchResult]:
    return run_batches(session.recognizer.runner, session.plan.workload, session.plan.seconds, progress=session.told)


def _on_device(session: Session) -> OnDevice | None:
    subject, plan = session.subject, session.plan
    return run_on_device(session.recognizer.runner, plan.workload, plan.seconds, subject.device, progress=session.told)


def _open_loop(session: Session) -> list[OpenLoop]:
    query = recognition(session.recognizer, session.plan.workload)
    rates, seconds = session.plan.rates, session.plan.seconds
    return [
        run_open_loop(query, rate, seconds, progress=_part(session.told, index, len(rates)))
        for index, rate in enumerate(rates)
    ]


def _multi_stream(session: Session) -> list[MultiStream]:
    found = []
    for index, streams in enumerate(session.plan.streams):
        session.told(index / len(session.plan.streams))
        threads = session.threads or max(1, cores() // streams)
        with ExitStack() as stack:
            opened = [stack.enter_context(session.subject.open(threads)) for _ in range(streams)]
            queries = [recognition(each, session.plan.workload) for each in opened]
            found.append(run_streams(queries, session.plan.seconds, threads=threads))
    return found


def _sustained(session: Session) -> Sustained:
    query = recognition(session.recognizer, session.plan.workload)
    return run_sustained(query, session.plan.minutes * 60, progress=session.told)


def _cold_start(session: Session) -> ColdStart:
    subject, plan = session.subject, session.plan
    return run_cold_start(
        subject.bundle,
        subject.engine,
        session.threads,
        plan.workload,
        allow_host_code=subject.allow_host_code,
        on_gpu=session.recognizer.runner.has_device,
        runs=plan.cold_starts,
        progress=session.told,
    )


def _roofline(session: Session) -> Roofline:
    return measure_roofline(session.bundle, session.subject.engine, session.threads, progress=session.told)


def _scaling(session: Session) -> list[ScalingPoint]:
    return run_scaling(
        session.subject.open,
        session.plan.workload,
        SCALING * session.plan.seconds,
        thread_counts(session.bundle, session.subject.engine),
        session.plan.streams,
        progress=session.told,
    )


def thread_counts(bundle: Bundle, engine: str | None) -> tuple[int, ...]:
    """Threads to try: powers of two, and all cores; one where the processor does not do the work."""
    if get_engine(bundle.entry(engine).engine).local_target() != "cpu":
        return (1,)
    return tuple(sorted({cores(), *(1 << power for power in range(cores().bit_length()))}))


# The name of a scenario, with underscores, is that of its field in the report.
SCENARIOS: dict[str, Callable[[Session], Any]] = {
    "single-stream": _single_stream,
    "batches": _batches,
    "on-device": _on_device,
    "open-loop": _open_loop,
    "multi-stream": _multi_stream,
    "cold-start": _cold_start,
    "roofline": _roofline,
    "scaling": _scaling,
    "sustained": _sustained,
}


def run_bench(
    subject: BenchTarget, plan: Plan, progress: Callable[[str, float], None] = lambda scenario, share: None
) -> tuple[BenchReport, dict[str, Stamps]]:
    """Run the scenarios of a plan.

    Args:
        subject: What is measured.
        plan: What is done.
        progress: Told the scenario and the share of it that is done.

    Returns:
        The report, and the raw times of scenarios that have a picture of them. A scenario that fails is named in the
        report, with its reason, and the rest is measured. After Ctrl-C the report has the scenarios that were done.

    Raises:
        EngineError: A scenario that was asked for by name cannot be measured; nothing was.
        FerEdgeError: The bundle cannot be opened or its engine does not load.
        KeyboardInterrupt: Ctrl-C, before a scenario was done.
    """
    bundle = Bundle.open(subject.bundle)
    entry = bundle.runnable_entry(subject.engine, subject.device)
    subject = replace(subject, engine=entry.engine)
    checksum = file_sha256(bundle.path)
    timelines: dict[str, Stamps] = {}
    found: dict[str, Any] = {}
    noise: dict[str, Noise] = {}
    failed: dict[str, str] = {}
    started = time.perf_counter()
    with subject.open() as recognizer:
        load_ms = (time.perf_counter() - started) * 1e3
        tuning = recognizer.tuning
        threads = subject.threads if tuning is None else tuning.threads
        on_gpu = recognizer.runner.has_device
        scenarios, left_out = measurable(plan.scenarios, plan.named, entry.engine, recognizer.runner, subject.device)
        stopped = ""
        for name in scenarios:
            progress(name, 0.0)
            session = Session(subject, plan, bundle, recognizer, threads, _named(progress, name), timelines)
            try:
                found |= _watched(name, session, noise, failed)
            except KeyboardInterrupt:
                if not found:
                    raise
                stopped = name
                break
            progress(name, 1.0)
    report = BenchReport(
        bundle=bundle.manifest.name,
        bundle_sha256=checksum,
        engine=entry.engine,
        precision=bundle.manifest.precision,
        threads=threads,
        tuned=tuning is not None,
        load_ms=load_ms,
        memory_mb=memory_mb(),
        peak_memory_mb=peak_memory_mb(),
        noise=noise,
        left_out=left_out,
        asked=_asked(plan),
        environment=environment() | (gpu_environment(subject.device) if on_gpu else {}),
        operators=bundle.manifest.operators,
        proven=_proven(entry),
        failed=failed,
        stopped=stopped,
        **found,
    )
    return report, timelines


def _watched(name: str, session: Session, noise: dict[str, Noise], failed: dict[str, str]) -> dict[str, Any]:
    """What a scenario measured, by its field of the report; nothing where it failed, and `failed` has the reason."""
    try:
        with NoiseMonitor(crowded=name in CROWDED) as watch:
            measured = SCENARIOS[name](session)
    except (FerEdgeError, OSError) as error:  # what the others measure is worth telling all the same
        failed[name] = str(error)
        return {}
    noise[name] = watch.noise
    return {name.replace("-", "_"): measured}


def _asked(plan: Plan) -> Asked:
    height, width = plan.workload.frame.shape[:2]
    return Asked(
        queries=plan.queries,
        seconds=plan.seconds,
        minutes=plan.minutes,
        rates=plan.rates,
        streams=plan.streams,
        image=plan.workload.source,
        width=width,
        height=height,
        box=plan.workload.box,
    )


def _proven(entry: EngineEntry) -> dict[str, float]:
    """The proof's shares, if it has any; a manifest is anyone's JSON."""
    shares = entry.proof.get("macs", {})
    found = shares.items() if isinstance(shares, dict) else ()
    return {name: float(share) for name, share in found if isinstance(share, (int, float))}


def _named(progress: Callable[[str, float], None], name: str) -> Told:
    return lambda share: progress(name, share)


def _part(told: Told, index: int, count: int) -> Told:
    return lambda share: told((index + share) / count)
