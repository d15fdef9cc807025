"""The benchmark of one bundle: scenarios, comparison with PyTorch, and files."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fer_edge._files import as_path, check_output, file_sha256, make_folder, write_atomically
from fer_edge._require import require
from fer_edge._settings import convert_some
from fer_edge.benchmark.arguments import check_device, check_parity_inputs
from fer_edge.benchmark.noise import Noise, NoiseMonitor
from fer_edge.benchmark.registry import SCENARIOS, check_settings, select_scenarios, split_supported
from fer_edge.benchmark.report import BenchReport
from fer_edge.benchmark.rows import csv_from_report
from fer_edge.benchmark.scenario import Plan, Session, Stamps
from fer_edge.benchmark.workload import Workload, workload_from_image
from fer_edge.bundle import Bundle, EngineEntry
from fer_edge.engines.base import RunOptions
from fer_edge.environment import environment, gpu_environment, memory_mb, peak_memory_mb
from fer_edge.errors import FerEdgeError
from fer_edge.progress import Progress, silent
from fer_edge.recognizer import Recognizer
from fer_edge.shipped import path_or_shipped

if TYPE_CHECKING:
    from fer_edge.boxes import Box
    from fer_edge.choices import EngineName

LOGGER = logging.getLogger("fer_edge")
AnyPath = str | os.PathLike[str]


def bench(
    bundle: AnyPath,
    *,
    scenarios: Sequence[str] | None = None,
    engine: EngineName | None = None,
    threads: int | None = None,
    queries: int | None = None,
    seconds: float | None = None,
    minutes: float | None = None,
    rates: Sequence[float] | None = None,
    image: AnyPath | None = None,
    box: Box | None = None,
    device: int | None = None,
    allow_host_code: bool = False,
    csv: AnyPath | None = None,
    report: AnyPath | None = None,
    checkpoint: AnyPath | None = None,
    images: AnyPath | None = None,
    progress: Progress = silent,
) -> BenchReport:
    """Measure latency and throughput of a bundle on this machine.

    Results are never lost: a scenario that fails is in `BenchReport.failed` with its reason, and the others are still
    measured. The same holds for the steps after the measurement (parity, csv, report). Ctrl-C ends the run; the report
    then has the results so far, and `stopped` names the interrupted scenario.

    Args:
        bundle: Bundle (.fer), or "edge", the shipped one.
        scenarios: Scenarios to run; "all" skips those that the engine does not support. Default: single-stream, batches
            and, for engines on a GPU, on-device.
        engine: Engine of the bundle; default: the first that runs on this machine.
        threads: Number of CPU threads; default: the engine's choice.
        queries: Minimum number of queries of the single-stream run; default: 1024.
        seconds: Minimum length of each measurement in seconds; default: 5.
        minutes: Length of the sustained run in minutes; default: 2.
        rates: Frame rates of the open loop in Hz; default: 30, 60 and 90.
        image: Image to use as the frame; default: a synthetic one.
        box: Face box x, y, width, height in pixels; default: the whole image.
        device: CUDA index of the GPU, for engines that run on one; default: 0.
        allow_host_code: Permission to run native code of a version-compatible TensorRT engine; only for bundles from a
            trusted source.
        csv: CSV file to write.
        report: Folder for an HTML page with plots (report.html) and a CSV file.
        checkpoint: Checkpoint that the bundle was built from; the engine is compared with it, which needs `images`.
        images: Face images for the comparison with the checkpoint.
        progress: Progress display; none by default.

    Returns:
        Results; `print(report)` shows them as tables.

    Raises:
        ConfigError: Wrong arguments, or arguments without effect.
        EngineError: Scenario that was named and is not supported by the engine.
        FerEdgeError: Unreadable bundle, image or checkpoint, or an engine that does not load.
        KeyboardInterrupt: Ctrl-C before the first scenario was measured.
    """
    path = path_or_shipped("bundle", as_path(bundle, "the bundle"))
    settings = {"queries": queries, "seconds": seconds, "minutes": minutes, "rates": tuple(rates) if rates else None}
    plan = _plan(tuple(scenarios or ()), settings, workload_from_image(image, box))
    names = {"csv": csv, "report": report, "checkpoint": checkpoint, "images": images, "image": image}
    paths = {name: None if value is None else as_path(value, f"the path {name}") for name, value in names.items()}
    for output in (paths["csv"], paths["report"]):
        if output is not None:
            check_output(output, path, paths["checkpoint"], paths["images"], paths["image"])
    options = RunOptions(threads, device or 0, allow_host_code=allow_host_code)
    started = time.perf_counter()
    opened = Bundle.open(path, in_memory=True)
    opening_ms = (time.perf_counter() - started) * 1e3
    check_device({opened.entry(engine).engine}, device)
    check_parity_inputs(opened, paths["checkpoint"], paths["images"])
    if paths["report"] is not None:
        require("fer_edge.benchmark.page", "report", "the report")
        make_folder(paths["report"])
    result, timelines = run_scenarios(opened, plan, engine, options, progress, opening_ms=opening_ms)
    steps: dict[str, Callable[[BenchReport], BenchReport]] = {}
    if checkpoint is not None and not result.stopped:
        steps["parity"] = lambda result: _add_parity(result, opened, options, paths, progress)
    if paths["csv"] is not None:
        steps["csv"] = lambda result: _write_csv(result, cast(Path, paths["csv"]))
    if paths["report"] is not None:
        steps["report"] = lambda result: _write_page(result, timelines, cast(Path, paths["report"]))
    return _run_steps(result, steps)


def _plan(required: tuple[str, ...], settings: Mapping[str, Any], workload: Workload) -> Plan:
    """Return the plan of a benchmark, after checking its settings.

    Args:
        required: Names of scenarios; empty: the quick ones.
        settings: Queries, seconds, minutes and rates; None for the default.
        workload: Frame and face box.
    """
    scenarios = select_scenarios(required)
    explicit = convert_some({name: value for name, value in settings.items() if value is not None}, Plan)
    check_settings(scenarios, explicit)
    return Plan(scenarios=scenarios, required=required, workload=workload, **explicit)


def run_scenarios(
    bundle: Bundle,
    plan: Plan,
    engine: str | None = None,
    options: RunOptions | None = None,
    progress: Progress = silent,
    *,
    opening_ms: float = 0.0,
) -> tuple[BenchReport, dict[str, Stamps]]:
    """Run the scenarios of a plan.

    Args:
        bundle: Bundle; in memory, it is read and checked only once.
        plan: Scenarios and their settings.
        engine: Engine of the bundle; None: the first that runs on this machine.
        options: Run options; None: the defaults.
        progress: Progress display; none by default.
        opening_ms: Milliseconds that opening the bundle took, a part of loading.

    Returns:
        The report, and the stamps of scenarios that have a plot over time.

    Raises:
        EngineError: Required scenario that the engine does not support.
        FerEdgeError: Engine that does not load.
        KeyboardInterrupt: Ctrl-C before the first scenario was measured.
    """
    options = options or RunOptions()
    entry, checksum = bundle.runnable_entry(engine, options.device), file_sha256(bundle.path)
    timelines: dict[str, Stamps] = {}
    noise: dict[str, Noise] = {}
    failed: dict[str, str] = {}
    started = time.perf_counter()
    with Recognizer.open(bundle, entry.engine, options=options) as recognizer:
        load_ms = opening_ms + (time.perf_counter() - started) * 1e3
        on_gpu = recognizer.runner.has_device
        selected = select_scenarios(None) if plan.scenarios is None else plan.scenarios
        supported, skipped = split_supported(selected, plan.required, entry.engine, recognizer.runner, options.device)
        for name, reason in skipped.items():
            LOGGER.info("skipped %s: %s", name, reason)
        session = Session(bundle, entry.engine, options, plan, recognizer, lambda share: None, timelines)
        results, stopped = _run_all(supported, session, progress, noise, failed)
    report = BenchReport(
        file=str(bundle.path),
        bundle=bundle.manifest.name,
        bundle_sha256=checksum,
        engine=entry.engine,
        precision=bundle.manifest.precision,
        threads=options.threads,
        load_ms=load_ms,
        memory_mb=memory_mb(),
        peak_memory_mb=peak_memory_mb(),
        noise=noise,
        left_out=skipped,
        plan=plan.summary(),
        environment=environment() | (gpu_environment(options.device) if on_gpu else {}),
        operators=bundle.manifest.operators,
        proven=_proven_shares(entry),
        results=results,
        failed=failed,
        stopped=stopped,
    )
    return report, timelines


def _run_all(
    names: Sequence[str], session: Session, progress: Progress, noise: dict[str, Noise], failed: dict[str, str]
) -> tuple[dict[str, Any], str]:
    """Run scenarios; return the results by name, and the name of the scenario that Ctrl-C interrupted."""
    results: dict[str, Any] = {}
    for name in names:
        try:
            with _shares(progress, name) as advance:
                results |= _measure(name, replace(session, progress=advance), noise, failed)
        except KeyboardInterrupt:
            if not results:
                raise
            return results, name
    return results, ""


@contextmanager
def _shares(progress: Progress, title: str) -> Iterator[Callable[[float], None]]:
    """Show a step in percent; yield a function that receives the finished share, 0 to 1."""
    done = 0
    with progress(title, 100) as advance:

        def update(share: float) -> None:
            nonlocal done
            percent = min(100, int(100 * share))
            if percent > done:
                advance(percent - done)
                done = percent

        yield update
        update(1.0)


def _measure(name: str, session: Session, noise: dict[str, Noise], failed: dict[str, str]) -> dict[str, Any]:
    """Run one scenario.

    Args:
        name: Name of the scenario.
        session: Shared state.
        noise: Other load by scenario, to add to.
        failed: Reasons by scenario, to add to.

    Returns:
        The result by name of the scenario; nothing if it failed.
    """
    scenario = SCENARIOS[name]
    try:
        with NoiseMonitor(crowded=scenario.crowded) as monitor:
            result = scenario.run(session)
    except (FerEdgeError, OSError) as error:  # the other scenarios are still measured
        failed[name] = str(error)
        LOGGER.error("%s failed: %s", name, error)
        return {}
    noise[name] = monitor.noise
    for warning in monitor.noise.warnings:
        LOGGER.warning("the machine was not quiet during %s: %s", name, warning)
    return {name: result}


def _proven_shares(entry: EngineEntry) -> dict[str, float]:
    """Return the proof's shares of multiply-accumulates; values of other types in the manifest are ignored."""
    shares = entry.proof.get("macs", {})
    items = shares.items() if isinstance(shares, dict) else ()
    return {name: float(share) for name, share in items if isinstance(share, (int, float))}


def _run_steps(report: BenchReport, steps: Mapping[str, Callable[[BenchReport], BenchReport]]) -> BenchReport:
    """Run the steps after the measurement; errors and Ctrl-C are stored in the report, so that no result is lost."""
    for name, step in steps.items():
        try:
            report = step(report)
        except (FerEdgeError, OSError) as error:
            report.failed[name] = str(error)
            LOGGER.error("%s failed: %s", name, error)
        except KeyboardInterrupt:
            report = replace(report, stopped=report.stopped or name)
    return report


def _add_parity(
    report: BenchReport, bundle: Bundle, options: RunOptions, paths: Mapping[str, Path | None], progress: Progress
) -> BenchReport:
    """Compare with the checkpoint; last, because PyTorch's memory and threads would be measured."""
    from fer_edge.evaluation.parity import parity

    result = parity(
        bundle,
        cast(Path, paths["checkpoint"]),
        cast(Path, paths["images"]),
        engine=cast("EngineName", report.engine),
        device=options.device,
        threads=options.threads,
        allow_host_code=options.allow_host_code,
        progress=progress,
    )
    return replace(report, parity=result)


def _write_csv(report: BenchReport, path: Path) -> BenchReport:
    write_atomically(path, csv_from_report(report))
    return report


def _write_page(report: BenchReport, timelines: dict[str, Stamps], folder: Path) -> BenchReport:
    from fer_edge.benchmark.page import write_report

    return replace(report, report=str(write_report(folder, report, timelines)))
