"""`fer-edge bench`."""

from __future__ import annotations

from typing import Annotated

import typer

from fer_edge.cli import options
from fer_edge.cli.option_checks import parse_box

Queries = Annotated[
    int | None,
    typer.Option("--queries", min=10, help="Minimum number of queries of the single-stream run; default: 1024."),
]
Seconds = Annotated[
    float | None,
    typer.Option("--seconds", min=0.1, max=86_400, help="Minimum length of each measurement in seconds; default: 5."),
]
Minutes = Annotated[
    float | None,
    typer.Option("--minutes", min=0.05, max=10_080, help="Length of the sustained run in minutes; default: 2."),
]
Rates = Annotated[
    list[float] | None,
    typer.Option(
        "--rate",
        min=1,
        max=100_000,
        help="Frame rate of the open loop in Hz; repeat for several. Default: 30, 60 and 90.",
    ),
]


def bench(
    bundle: options.BundleArgument,
    scenario: options.Scenarios = None,
    engine: options.Engine = None,
    threads: options.Threads = None,
    queries: Queries = None,
    seconds: Seconds = None,
    minutes: Minutes = None,
    rate: Rates = None,
    image: options.Frame = None,
    box: options.FaceBox = None,
    device: options.Device = None,
    allow_host_code: options.AllowHostCode = False,
    csv: options.CsvOut = None,
    report: options.Report = None,
    checkpoint: options.Checkpoint = None,
    images: options.Images = None,
    json: options.Json = False,
) -> None:
    """Measure latency and throughput of a bundle on this machine.

    For MLPerf's single-stream rules, use --seconds 60. With --checkpoint and --images, the engine is also compared
    with PyTorch. Exits with 1 if a scenario or parity fails.

    Example: fer-edge bench edge.fer --threads 2 --scenario open-loop --rate 90
    """
    from fer_edge.benchmark.run import bench as run_bench
    from fer_edge.cli.output import print_result, progress

    result = run_bench(
        bundle,
        scenarios=scenario,
        engine=engine,
        threads=threads,
        queries=queries,
        seconds=seconds,
        minutes=minutes,
        rates=rate,
        image=image,
        box=parse_box(box),
        device=device,
        allow_host_code=allow_host_code,
        csv=csv,
        report=report,
        checkpoint=checkpoint,
        images=images,
        progress=progress,
    )
    print_result(result, as_json=json)
    if result.stopped:
        raise KeyboardInterrupt(f"stopped during {result.stopped}; done before: {', '.join(result.measured)}")
    if not result.passed:
        raise typer.Exit(1)
