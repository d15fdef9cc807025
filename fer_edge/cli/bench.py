"""`fer-edge bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli.options import BundlePath, EngineName, Json, Threads


def bench(
    bundle: BundlePath,
    engine: EngineName = None,
    threads: Threads = None,
    queries: Annotated[int, typer.Option(min=10, help="Stop after so many queries,")] = 1000,
    seconds: Annotated[float, typer.Option(min=0.1, help="or after so many seconds.")] = 10.0,
    image: Annotated[Path | None, typer.Option(help="Face crop to use; default: a synthetic one.")] = None,
    json: Json = False,
) -> None:
    """Measure a bundle's latency on this machine.

    Example: fer-edge bench edge.fer --threads 2
    """
    from fer_edge.bench.latency import bench_recognizer, synthetic_frame
    from fer_edge.cli.output import console, err_console, print_json, print_table
    from fer_edge.images import read_image
    from fer_edge.recognizer import Recognizer

    frame = synthetic_frame() if image is None else read_image(image)
    with err_console().status("measuring"):
        report = bench_recognizer(
            lambda: Recognizer.open(bundle, engine, threads), frame, queries=queries, seconds=seconds
        )
    if json:
        print_json({"bundle": bundle, "threads": threads, **vars(report)})
        return
    columns = ("p50", "p90", "p95", "p99", "max", "mean")
    rows = [
        (name, *(f"{getattr(latency, column):.3f}" for column in columns))
        for name, latency in [*report.stages.items(), ("total", report.total)]
    ]
    print_table(f"milliseconds, one face, {report.queries} queries", ("stage", *columns), rows)
    sweep = [(r.batch, f"{r.latency.p50:.2f}", f"{r.images_per_second:.0f}") for r in report.sweep]
    print_table("batches", ("batch", "p50 ms", "images/s"), sweep)
    memory = "unknown" if report.peak_memory_mb is None else f"{report.peak_memory_mb:.0f} MB"
    console().print(f"load {report.load_ms:.0f} ms, peak memory {memory}")
    environment = {"threads": threads or "as the engine chooses", **report.environment}
    console().print(", ".join(f"{name} {value}" for name, value in environment.items()), soft_wrap=True)
