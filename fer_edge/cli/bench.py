"""`fer-edge bench`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, get_args

import typer

from fer_edge.choices import ScenarioName
from fer_edge.cli.bench_checks import check_comparison, check_device, check_effect, check_files
from fer_edge.cli.option_checks import check_choice, parse_box, shipped_path
from fer_edge.cli.options import (
    AllowHostCode,
    BundleArgument,
    CsvOut,
    Device,
    FaceBox,
    Frame,
    Json,
    Runner,
    Scenarios,
    Threads,
)

if TYPE_CHECKING:
    from fer_edge.benchmark.run import BenchReport, BenchTarget, Plan
    from fer_edge.benchmark.scenarios.single_stream import Stamps
    from fer_edge.benchmark.tune import Target
    from fer_edge.benchmark.workload import Workload
    from fer_edge.bundle import Tuning


def _at_most(most: float) -> Callable[[float | None], float | None]:
    """A check of an option: infinity and nan would run for ever, or overflow."""

    def check(value: float | None) -> float | None:
        if value is not None and not value <= most:  # nan compares false with everything
            raise typer.BadParameter(f"{value:g} is too large, or no number; expected one up to {most:,.0f}")
        return value

    return check


def _rates(values: list[float] | None) -> list[float] | None:
    for value in values or ():
        _at_most(100_000)(value)
    return values


Rates = Annotated[
    list[float] | None,
    typer.Option(
        "--rate",
        min=1,
        callback=_rates,
        help="Frames a second of the open loop; may be repeated. Default: 30, 60, 90.",
    ),
]
Seconds = Annotated[
    float | None,
    typer.Option(
        "--seconds",
        min=0.1,
        callback=_at_most(86_400),
        help="Run each measurement for so many seconds at least. Default: 5.",
    ),
]
Minutes = Annotated[
    float | None,
    typer.Option("--minutes", min=0.05, callback=_at_most(10_080), help="Length of the sustained run. Default: 2."),
]
ReportFolder = Annotated[
    Path | None, typer.Option("--report", metavar="DIR", help="Folder for a page with pictures (report.html) and CSV.")
]
Reference = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        help="The bundle's checkpoint: compare with it too, as `parity` does. With --faces.",
        callback=shipped_path("checkpoint"),
    ),
]
Faces = Annotated[Path | None, typer.Option("--faces", metavar="DIR", help="Folder of real images for the comparison.")]
TuneTarget = Annotated[
    str | None,
    typer.Option(
        "--tune",
        metavar="TARGET",
        help="Find the best settings for p99=MILLISECONDS of the engine or throughput=IMAGES_A_SECOND of the engine, "
        "alone, and write them into the bundle, which then uses them on machines like this one. Refused where other "
        "processes took more than a tenth of the processors' time meanwhile.",
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="With --tune: write the settings, however busy the machine was meanwhile.")
]


class Outputs(NamedTuple):
    """Where results go, besides the terminal."""

    csv: Path | None
    folder: Path | None  # of the page
    json: bool  # instead of tables


def chosen_scenarios(names: Sequence[str] | None) -> tuple[str, ...]:
    """The scenarios to run, in their own order.

    Raises:
        BadParameter: One is not known.
    """
    from fer_edge.benchmark.run import QUICK, SCENARIOS

    for name in names or ():
        check_choice("scenario", name, get_args(ScenarioName))
    wanted = set(SCENARIOS if names and "all" in names else names or QUICK)
    return tuple(name for name in SCENARIOS if name in wanted)


def chosen_workload(image: Path | None, box: str | None) -> Workload:
    """The user's frame, or a synthetic one.

    Raises:
        BadParameter: A box without an image, or no box.
        ImageError: The image cannot be read.
    """
    from fer_edge.benchmark.workload import Workload, synthetic_workload
    from fer_edge.images import read_image

    if image is None:
        if box is not None:
            raise typer.BadParameter("--box goes with --image")
        return synthetic_workload()
    return Workload(read_image(image), parse_box(box), str(image))


def bench(
    bundle: BundleArgument,
    scenario: Scenarios = None,
    engine: Runner = None,
    threads: Threads = None,
    queries: Annotated[
        int | None,
        typer.Option(min=10, help="Run a single stream for so many queries at least. Default: 1024."),
    ] = None,
    seconds: Seconds = None,
    minutes: Minutes = None,
    rate: Rates = None,
    image: Frame = None,
    box: FaceBox = None,
    device: Device = None,
    allow_host_code: AllowHostCode = False,
    csv: CsvOut = None,
    report: ReportFolder = None,
    reference: Reference = None,
    faces: Faces = None,
    tune: TuneTarget = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Measure a bundle on this machine.

    Quick by default; MLPerf's single stream is --seconds 60, everything is --scenario all. Exits with 1 if a
    scenario or parity fails, or if no settings reach the target of --tune: behind all that was measured.

    Example: fer-edge bench edge.fer --threads 2 --scenario single-stream --scenario open-loop --rate 90
    """
    from fer_edge.benchmark.run import BenchTarget, Plan, run_bench
    from fer_edge.benchmark.tune import target_from_text
    from fer_edge.cli.bench_display import scenario_progress
    from fer_edge.cli.output import prepare_report

    if force and tune is None:
        raise typer.BadParameter("--force goes with --tune")
    target = None if tune is None else target_from_text(tune)
    wanted = scenario if target is None else [*(scenario or ()), "scaling"]
    scenarios = chosen_scenarios(wanted)
    check_effect(scenarios, queries=None if tune else queries, seconds=seconds, minutes=minutes, rate=rate or None)
    check_files(bundle, tune, csv, report, reference, image)
    check_device(bundle, engine, device)
    subject = BenchTarget(bundle, engine, threads, device or 0, allow_host_code)
    plan = Plan(
        scenarios=scenarios,
        named=tuple(wanted or ()),
        queries=queries or Plan.queries,
        seconds=seconds or Plan.seconds,
        minutes=minutes or Plan.minutes,
        rates=tuple(rate or Plan.rates),
        workload=chosen_workload(image, box),
    )
    check_comparison(bundle, reference, faces)
    if report is not None:
        prepare_report(report, "fer_edge.benchmark.report")
    with scenario_progress() as progress:
        found, timelines = run_bench(subject, plan, progress)
    errors: list[BaseException] = []
    if found.stopped:
        done = ", ".join(name for name in scenarios[: scenarios.index(found.stopped)] if name not in found.left_out)
        errors.append(KeyboardInterrupt(f"stopped during {found.stopped}; done before: {done}"))
    # Behind all else: PyTorch's memory and threads must not be in the figures.
    with _kept(errors):
        found = _with_parity(found, subject, reference, faces)
    outputs = Outputs(csv, report, json)
    page = _write_and_tell(found, timelines, outputs, errors)
    # After the rest has been told: there may be no settings that reach the target.
    stopped = found.stopped and target is not None
    tuning, reason = (None, "stopped") if stopped else _tune(subject, plan, found, target, errors, force=force)
    _tell_tuning(bundle, found, outputs, page, tuning, reason)
    _end(errors, found)


def _end(errors: list[BaseException], found: BenchReport) -> None:
    """Exit as what was kept asks for.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        FerEdgeError: The last that was kept; those before it are printed.
        Exit: A scenario or parity fails.
    """
    from fer_edge.cli.output import print_error

    ordered = sorted(errors, key=lambda error: isinstance(error, KeyboardInterrupt))
    for error in ordered[:-1]:
        print_error(error)
    if ordered:
        raise ordered[-1]
    if found.failed or (found.parity is not None and not found.parity):
        raise typer.Exit(1)


@contextmanager
def _kept(errors: list[BaseException]) -> Iterator[None]:
    """Keep an error or Ctrl-C for the end: what was measured is told first."""
    from fer_edge.errors import FerEdgeError

    try:
        yield
    except (FerEdgeError, KeyboardInterrupt) as error:
        errors.append(error)
    except OSError as error:
        errors.append(FerEdgeError(str(error)))


def _write_and_tell(
    found: BenchReport, timelines: dict[str, Stamps], outputs: Outputs, errors: list[BaseException]
) -> Path | None:
    """Write files, then print tables; the page, if there is one.

    Printing may end the command, where whoever read it has gone; and the tables are printed whatever writing says.
    """
    from fer_edge.cli.bench_display import print_failed, print_left_out, print_report, print_warnings

    try:
        with _kept(errors):
            _write_csv(found, outputs.csv)
        with _kept(errors):
            return _write_page(found, timelines, outputs.folder)
    finally:
        if outputs.json:
            print_warnings(found.noise)
            print_left_out(found.left_out)
            print_failed(found.failed)
        else:
            print_report(found)
    return None


def _tell_tuning(
    bundle: Path, found: BenchReport, outputs: Outputs, page: Path | None, tuning: Tuning | None, reason: str
) -> None:
    """What `_write_and_tell` left for the end: the settings, and with them all of the JSON."""
    from fer_edge.cli.bench_display import print_tuning
    from fer_edge.cli.output import console, print_json

    if outputs.json:
        told = {"file": bundle, "report": page, "tuning": tuning, "tuning_reason": reason}
        print_json({**told, **vars(found)})
        return
    if tuning is not None:
        print_tuning(bundle, tuning)
    if page is not None:
        console().print(f"report: {page}", soft_wrap=True)


def _with_parity(found: BenchReport, subject: BenchTarget, reference: Path | None, faces: Path | None) -> BenchReport:
    """With the comparison of the bundle and its checkpoint, where asked for."""
    if reference is None or faces is None or found.stopped:
        return found
    from dataclasses import replace

    from fer_edge.cli.output import progress
    from fer_edge.evaluation.parity import parity

    report = parity(
        subject.bundle,
        reference,
        faces,
        engine=subject.engine,  # type: ignore[arg-type]
        device=subject.device,
        threads=found.threads,
        allow_host_code=subject.allow_host_code,
        progress=progress,
    )
    return replace(found, parity=report)


def _write_csv(found: BenchReport, csv: Path | None) -> None:
    """Every figure, where asked for."""
    from fer_edge.benchmark.csv_rows import csv_from_records, description, records_from_report
    from fer_edge.cli.output import write_text

    if csv is not None:
        write_text(csv, csv_from_records(records_from_report(found), description(found)))


def _write_page(found: BenchReport, timelines: dict[str, Stamps], folder: Path | None) -> Path | None:
    """The page, where asked for."""
    if folder is None:
        return None
    from fer_edge.benchmark.report import write_report

    return write_report(folder, found, timelines)


def _tune(
    subject: BenchTarget,
    plan: Plan,
    found: BenchReport,
    target: Target | None,
    errors: list[BaseException],
    *,
    force: bool,
) -> tuple[Tuning | None, str]:
    """The settings that were written into the bundle, where asked for; or why there are none."""
    from fer_edge.benchmark.noise import NoiseMonitor
    from fer_edge.benchmark.tune import check_quiet, confirmed, write_tuning
    from fer_edge.bundle import Bundle
    from fer_edge.cli.output import err_console
    from fer_edge.errors import FerEdgeError

    if target is None:
        return None, ""
    if "scaling" in found.failed:
        return None, f"scaling failed: {found.failed['scaling']}"
    try:
        with err_console().status("measuring the best settings again"), NoiseMonitor(crowded=True) as watch:
            point = confirmed(found.scaling, target, subject.open, plan.workload, plan.seconds)
        if not force:
            check_quiet(found.noise["scaling"], watch.noise)
        return write_tuning(Bundle.open(subject.bundle), found.engine, point, target, subject.device), ""
    except (FerEdgeError, KeyboardInterrupt) as error:
        errors.append(error)
        return None, str(error) or "stopped"
