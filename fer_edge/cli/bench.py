"""`fer-edge bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_edge.cli.options import (
    AllowHostCode,
    BundlePath,
    CsvFile,
    Device,
    EngineName,
    FaceBox,
    FaceImage,
    Json,
    Threads,
    parse_box,
)

if TYPE_CHECKING:
    from fer_edge.bench.run import BenchReport, Plan, Subject
    from fer_edge.bench.scenarios.single_stream import Stamps
    from fer_edge.bench.tune import Target
    from fer_edge.bench.workload import Workload
    from fer_edge.bundle import Tuning
    from fer_edge.evaluation.parity import ParityReport

Scenarios = Annotated[
    list[str] | None,
    typer.Option(
        "--scenario",
        help="single-stream, batches, on-device, open-loop, multi-stream, cold-start, roofline, scaling, sustained "
        "or all; may be repeated. Default: the first three.",
    ),
]
Rates = Annotated[
    list[float] | None,
    typer.Option("--rate", min=1, help="Frames a second of the open loop; may be repeated. Default: 30, 60, 90."),
]
ReportFolder = Annotated[
    Path | None, typer.Option("--report", metavar="DIR", help="Folder for a page with pictures (report.html) and CSV.")
]
Reference = Annotated[
    Path | None,
    typer.Option("--reference", help="The bundle's checkpoint: compare with it too, as `parity` does. With --faces."),
]
Faces = Annotated[Path | None, typer.Option("--faces", metavar="DIR", help="Folder of real images for the comparison.")]
TuneTarget = Annotated[
    str | None,
    typer.Option(
        "--tune",
        metavar="TARGET",
        help="Find the best settings for p99=MILLISECONDS or throughput=IMAGES_A_SECOND and write them into the "
        "bundle, which then uses them on machines like this one.",
    ),
]


def chosen_scenarios(names: list[str] | None) -> tuple[str, ...]:
    """The scenarios to run, in their own order.

    Raises:
        BadParameter: One is not known.
    """
    from fer_edge.bench.run import QUICK, SCENARIOS

    unknown = [name for name in names or () if name not in (*SCENARIOS, "all")]
    if unknown:
        raise typer.BadParameter(f"no scenario {unknown[0]!r}; expected some of: {', '.join(SCENARIOS)}, all")
    wanted = set(SCENARIOS if names and "all" in names else names or QUICK)
    return tuple(name for name in SCENARIOS if name in wanted)


def chosen_workload(image: Path | None, box: str | None) -> Workload:
    """The user's frame, or a synthetic one.

    Raises:
        BadParameter: A box without an image, or no box.
        ImageError: The image cannot be read.
    """
    from fer_edge.bench.workload import Workload, synthetic_workload
    from fer_edge.images import read_image

    if image is None:
        if box is not None:
            raise typer.BadParameter("--box goes with --image")
        return synthetic_workload()
    return Workload(read_image(image), parse_box(box))


def bench(
    bundle: BundlePath,
    scenario: Scenarios = None,
    engine: EngineName = None,
    threads: Threads = None,
    queries: Annotated[int, typer.Option(min=10, help="Run a single stream for so many queries at least,")] = 1024,
    seconds: Annotated[float, typer.Option(min=0.1, help="and each measurement for so many seconds at least.")] = 5.0,
    minutes: Annotated[float, typer.Option(min=0.05, help="Length of the sustained run.")] = 2.0,
    rate: Rates = None,
    image: FaceImage = None,
    box: FaceBox = None,
    device: Device = 0,
    allow_host_code: AllowHostCode = False,
    csv: CsvFile = None,
    report: ReportFolder = None,
    reference: Reference = None,
    faces: Faces = None,
    tune: TuneTarget = None,
    json: Json = False,
) -> None:
    """Measure a bundle on this machine.

    Quick by default; MLPerf's single stream is --seconds 60, everything is --scenario all. Exits with 1 if parity was
    asked for and fails.

    Example: fer-edge bench edge.fer --threads 2 --scenario single-stream --scenario open-loop --rate 90
    """
    from dataclasses import replace

    from fer_edge.bench.run import Plan, Subject, run_bench
    from fer_edge.cli.bench_display import print_report, print_tuning, print_warnings, scenario_progress
    from fer_edge.cli.output import console, prepare_report, print_json

    target = None if tune is None else _target(tune)
    subject = Subject(bundle, engine, threads, device, allow_host_code)
    plan = Plan(
        scenarios=chosen_scenarios(scenario if target is None else [*(scenario or ()), "scaling"]),
        queries=queries,
        seconds=seconds,
        minutes=minutes,
        rates=tuple(rate or Plan.rates),
        workload=chosen_workload(image, box),
    )
    if report is not None:
        prepare_report(report, "fer_edge.bench.report")
    if (reference is None) != (faces is None):
        raise typer.BadParameter("--reference and --faces go together")
    with scenario_progress() as progress:
        found, timelines = run_bench(subject, plan, progress)
    # Behind all else: PyTorch's memory and threads must not be in the figures.
    parity = _parity(subject, reference, faces)
    found = replace(found, parity=parity)
    page = _write_files(found, timelines, csv, report)
    if json:
        print_warnings(found.noise)
    else:
        print_report(found)
    # After the rest has been told: there may be no settings that reach the target.
    tuning = None if target is None else _tune(subject, plan, found, target)
    if json:
        print_json({"file": bundle, "report": page, "tuning": tuning, **vars(found)})
    elif tuning is not None:
        print_tuning(bundle, tuning)
    if page is not None and not json:
        console().print(f"report: {page}", soft_wrap=True)
    if parity is not None and not parity:
        raise typer.Exit(1)


def _parity(subject: Subject, reference: Path | None, faces: Path | None) -> ParityReport | None:
    """The bundle beside its checkpoint, where asked for."""
    if reference is None or faces is None:
        return None
    from fer_edge.cli.parity import measure_parity

    settings = (subject.engine, subject.threads, subject.allow_host_code)
    return measure_parity(subject.bundle, reference, faces, *settings)[1]


def _write_files(
    found: BenchReport, timelines: dict[str, Stamps], csv: Path | None, folder: Path | None
) -> Path | None:
    """What was asked for; the page, if it was."""
    from fer_edge.bench.records import csv_from_records, description, records_from_report
    from fer_edge.cli.output import write_text

    if csv is not None:
        write_text(csv, csv_from_records(records_from_report(found), description(found)))
    if folder is None:
        return None
    from fer_edge.bench.report import write_report

    return write_report(folder, found, timelines)


def _target(text: str) -> Target:
    from fer_edge.bench.tune import target_from_text
    from fer_edge.errors import ConfigError

    try:
        return target_from_text(text)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None


def _tune(subject: Subject, plan: Plan, found: BenchReport, target: Target) -> Tuning:
    from fer_edge.bench.tune import confirmed, write_tuning
    from fer_edge.bundle import Bundle
    from fer_edge.cli.output import err_console

    with err_console().status("measuring the best settings again"):
        point = confirmed(found.scaling, target, subject.open, plan.workload, plan.seconds)
    return write_tuning(Bundle.open(subject.bundle), subject.engine, point, target)
