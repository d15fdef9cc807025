"""`fer-edge bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_edge.cli.options import BundlePath, CsvFile, EngineName, FaceBox, FaceImage, Json, Threads, parse_box

if TYPE_CHECKING:
    from fer_edge.bench.workload import Workload


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
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            help="single-stream, batches, open-loop, multi-stream, cold-start, roofline, sustained or all; "
            "may be repeated. Default: single-stream and batches."
        ),
    ] = None,
    engine: EngineName = None,
    threads: Threads = None,
    queries: Annotated[int, typer.Option(min=10, help="Run a single stream for so many queries at least,")] = 1024,
    seconds: Annotated[float, typer.Option(min=0.1, help="and each measurement for so many seconds at least.")] = 5.0,
    minutes: Annotated[float, typer.Option(min=0.05, help="Length of the sustained run.")] = 2.0,
    rate: Annotated[
        list[float] | None, typer.Option(min=1, help="Frames a second of the open loop; may be repeated.")
    ] = None,
    image: FaceImage = None,
    box: FaceBox = None,
    csv: CsvFile = None,
    json: Json = False,
) -> None:
    """Measure a bundle on this machine.

    Quick by default; MLPerf's single stream is --seconds 60, everything is --scenario all.

    Example: fer-edge bench edge.fer --threads 2 --scenario single-stream --scenario open-loop --rate 90
    """
    from fer_edge.bench.records import csv_from_records, description, records_from_report
    from fer_edge.bench.run import Plan, Subject, run_bench
    from fer_edge.cli.bench_display import print_report, print_warnings, scenario_progress
    from fer_edge.cli.output import print_json, write_text

    plan = Plan(
        scenarios=chosen_scenarios(scenario),
        queries=queries,
        seconds=seconds,
        minutes=minutes,
        rates=tuple(rate or Plan.rates),
        workload=chosen_workload(image, box),
    )
    with scenario_progress() as progress:
        report, _ = run_bench(Subject(bundle, engine, threads), plan, progress)
    if csv is not None:
        write_text(csv, csv_from_records(records_from_report(report), description(report)))
    if json:
        print_warnings(report.noise)
        print_json({"file": bundle, **vars(report)})
    else:
        print_report(report)
