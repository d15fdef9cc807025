"""`fer-edge compare`."""

from __future__ import annotations

from typing import Annotated

import typer

from fer_edge.cli import options
from fer_edge.cli.option_checks import parse_box


def compare(
    bundles: Annotated[
        list[str],
        typer.Argument(
            metavar="BUNDLE[@ENGINE]",
            help="Two or more bundles (.fer or `edge`), with an engine after @ if needed. The first is the baseline.",
        ),
    ],
    threads: options.Threads = None,
    device: options.Device = None,
    allow_host_code: options.AllowHostCode = False,
    rounds: Annotated[int, typer.Option("--rounds", min=6, help="Number of turns of each contender.")] = 40,
    queries_per_turn: Annotated[
        int, typer.Option("--queries-per-turn", min=1, help="Number of timed queries of a turn.")
    ] = 10,
    image: options.Frame = None,
    box: options.FaceBox = None,
    csv: options.CsvOut = None,
    json: options.Json = False,
) -> None:
    """Compare the speed of bundles or engines in alternating turns.

    Each contender runs in a process of its own. Ratios are relative to the first one; below 1 is faster.

    Example: fer-edge compare edge.fer@openvino edge.fer@onnxruntime --threads 2
    """
    from fer_edge.benchmark.compare import compare as compare_bundles
    from fer_edge.cli.output import print_result, progress

    report = compare_bundles(
        bundles,
        threads=threads,
        device=device,
        allow_host_code=allow_host_code,
        rounds=rounds,
        queries_per_turn=queries_per_turn,
        image=image,
        box=parse_box(box),
        csv=csv,
        progress=progress,
    )
    print_result(report, as_json=json)
    if report.rounds < rounds:
        raise KeyboardInterrupt(f"stopped after {report.rounds} of {rounds} rounds")
