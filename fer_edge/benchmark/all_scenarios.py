"""The table of scenarios: how each is measured, which settings it uses, what it requires, and how it is printed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from fer_edge._text import did_you_mean
from fer_edge.benchmark.scenarios import (
    batches,
    cold_start,
    multi_stream,
    on_device,
    open_loop,
    roofline,
    scaling,
    single_stream,
    sustained,
)
from fer_edge.benchmark.session import QUICK, Session
from fer_edge.benchmark.workload import recognition
from fer_edge.bundle import Bundle
from fer_edge.engines.base import Runner
from fer_edge.engines.registry import get_engine, get_profiler
from fer_edge.errors import ConfigError, EngineError
from fer_edge.hardware.cpu import cores
from fer_edge.results import Table

SCALING_FACTOR = 4  # length of the scaling run, as a multiple of that of one measurement


def _no_notes(result: Any) -> list[str]:
    return []


def _no_reason(engine: str, runner: Runner, device: int) -> str:
    return ""


@dataclass(frozen=True)
class Scenario:
    """One scenario. Its name with underscores is the name of its field in `BenchReport`."""

    run: Callable[[Session], Any]
    tables: Callable[[Any], list[Table]]
    notes: Callable[[Any], list[str]] = _no_notes
    settings: frozenset[str] = frozenset()  # settings of `bench` that have an effect on it
    unsupported_reason: Callable[[str, Runner, int], str] = _no_reason  # (engine, runner, device); empty: supported
    crowded: bool = False  # True: it runs more threads than there are cores, on purpose


def _run_single_stream(session: Session) -> single_stream.SingleStream:
    query = recognition(session.recognizer, session.plan.workload)
    plan = session.plan
    stamps = single_stream.run_queries(query, plan.queries, plan.seconds, progress=session.progress)
    session.timelines["single-stream"] = stamps
    return single_stream.summarise_single_stream(stamps)


def _run_batches(session: Session) -> list[batches.BatchResult]:
    plan = session.plan
    return batches.run_batches(session.recognizer.runner, plan.workload, plan.seconds, progress=session.progress)


def _run_on_device(session: Session) -> on_device.OnDevice | None:
    runner, plan, device = session.recognizer.runner, session.plan, session.target.device
    return on_device.run_on_device(runner, plan.workload, plan.seconds, device, progress=session.progress)


def _run_open_loop(session: Session) -> list[open_loop.OpenLoop]:
    query = recognition(session.recognizer, session.plan.workload)
    rates, seconds = session.plan.rates, session.plan.seconds
    return [
        open_loop.run_open_loop(query, rate, seconds, progress=_part(session.progress, index, len(rates)))
        for index, rate in enumerate(rates)
    ]


def _run_multi_stream(session: Session) -> list[multi_stream.MultiStream]:
    results = []
    for index, streams in enumerate(session.plan.streams):
        session.progress(index / len(session.plan.streams))
        threads = session.threads or max(1, cores() // streams)
        with ExitStack() as stack:
            recognizers = [stack.enter_context(session.target.open(threads)) for _ in range(streams)]
            queries = [recognition(recognizer, session.plan.workload) for recognizer in recognizers]
            results.append(multi_stream.run_streams(queries, session.plan.seconds, threads=threads))
    return results


def _run_sustained(session: Session) -> sustained.Sustained:
    query = recognition(session.recognizer, session.plan.workload)
    return sustained.run_sustained(query, session.plan.minutes * 60, progress=session.progress)


def _run_cold_start(session: Session) -> cold_start.ColdStart:
    target, plan = session.target, session.plan
    return cold_start.run_cold_start(
        target.bundle,
        target.engine,
        session.threads,
        plan.workload,
        allow_host_code=target.allow_host_code,
        on_gpu=session.recognizer.runner.has_device,
        runs=plan.cold_starts,
        progress=session.progress,
    )


def _run_roofline(session: Session) -> roofline.Roofline:
    return roofline.measure_roofline(session.bundle, session.target.engine, session.threads, progress=session.progress)


def _run_scaling(session: Session) -> list[scaling.ScalingPoint]:
    return scaling.run_scaling(
        session.target.open,
        session.plan.workload,
        SCALING_FACTOR * session.plan.seconds,
        thread_counts(session.bundle, session.target.engine),
        session.plan.streams,
        progress=session.progress,
    )


def thread_counts(bundle: Bundle, engine: str | None) -> tuple[int, ...]:
    """Return the thread counts to measure: powers of two and all cores; only 1 if the engine runs on a GPU."""
    if get_engine(bundle.entry(engine).engine).local_target() != "cpu":
        return (1,)
    return tuple(sorted({cores(), *(1 << power for power in range(cores().bit_length()))}))


def _needs_gpu(engine: str, runner: Runner, device: int) -> str:
    return "" if runner.has_device else f"{engine} runs on the CPU; on-device timing needs a GPU engine"


def _needs_first_gpu(engine: str, runner: Runner, device: int) -> str:
    if runner.has_device and device:
        return f"it measures GPU 0 only, and the device is {device}"
    return ""


def _needs_profiler(engine: str, runner: Runner, device: int) -> str:
    try:
        get_profiler(engine)
    except EngineError as error:
        return str(error)
    return ""


def _part(progress: Callable[[float], None], index: int, count: int) -> Callable[[float], None]:
    """Return the progress callback of one of several equal parts."""
    return lambda share: progress((index + share) / count)


_SECONDS = frozenset({"seconds"})
SCENARIOS: dict[str, Scenario] = {
    "single-stream": Scenario(
        _run_single_stream, single_stream.tables, single_stream.notes, settings=frozenset({"queries", "seconds"})
    ),
    "batches": Scenario(_run_batches, batches.tables, settings=_SECONDS),
    "on-device": Scenario(
        _run_on_device, on_device.tables, on_device.notes, settings=_SECONDS, unsupported_reason=_needs_gpu
    ),
    "open-loop": Scenario(_run_open_loop, open_loop.tables, open_loop.notes, settings=frozenset({"rates", "seconds"})),
    "multi-stream": Scenario(
        _run_multi_stream, multi_stream.tables, multi_stream.notes, settings=_SECONDS, crowded=True
    ),
    "cold-start": Scenario(_run_cold_start, cold_start.tables, cold_start.notes, unsupported_reason=_needs_first_gpu),
    "roofline": Scenario(_run_roofline, roofline.tables, roofline.notes, unsupported_reason=_needs_profiler),
    "scaling": Scenario(_run_scaling, scaling.tables, scaling.notes, settings=_SECONDS, crowded=True),
    "sustained": Scenario(_run_sustained, sustained.tables, sustained.notes, settings=frozenset({"minutes"})),
}


def select_scenarios(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the scenarios to run in the order of `SCENARIOS`; "all" selects every one, None the quick ones.

    Raises:
        ConfigError: Unknown name.
    """
    for name in names or ():
        if name not in SCENARIOS and name != "all":
            expected = ", ".join((*SCENARIOS, "all"))
            raise ConfigError(f"no scenario {name!r}; expected one of: {expected}{did_you_mean(name, SCENARIOS)}")
    selected = set(SCENARIOS if names and "all" in names else names or QUICK)
    return tuple(name for name in SCENARIOS if name in selected)


def check_settings(scenarios: Sequence[str], settings: Collection[str]) -> None:
    """Check that every setting has an effect on one of the scenarios.

    Args:
        scenarios: Scenarios to run.
        settings: Names of the settings that were given.

    Raises:
        ConfigError: Setting without effect.
    """
    for setting in settings:
        users = [name for name, scenario in SCENARIOS.items() if setting in scenario.settings]
        if not set(users) & set(scenarios):
            needed = f"the scenario {users[0]}" if len(users) == 1 else f"the scenarios {', '.join(users)}"
            raise ConfigError(f"{setting} applies only to {needed}; add one, or omit {setting}")


def split_supported(
    scenarios: Sequence[str], required: Collection[str], engine: str, runner: Runner, device: int = 0
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Split scenarios into those that the engine supports and the others, before anything is measured.

    Args:
        scenarios: Names of the scenarios.
        required: Names of those that must be supported.
        engine: Name of the engine.
        runner: The loaded engine.
        device: CUDA index of its GPU.

    Returns:
        Supported scenarios, and the reason of each unsupported one.

    Raises:
        EngineError: Required scenario that is unsupported.
    """
    reasons = {name: SCENARIOS[name].unsupported_reason(engine, runner, device) for name in scenarios}
    unsupported = {name: reason for name, reason in reasons.items() if reason}
    for name, reason in unsupported.items():
        if name in required:
            raise EngineError(f"{name} is not supported: {reason}; nothing was measured, omit {name}")
    return tuple(name for name in scenarios if name not in unsupported), unsupported
