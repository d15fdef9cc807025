"""`fer-edge bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_edge.cli.options import BundlePath, Device, EngineName, Json, Threads

if TYPE_CHECKING:
    from fer_edge.bench.latency import BenchReport


def bench(
    bundle: BundlePath,
    engine: EngineName = None,
    threads: Threads = None,
    queries: Annotated[int, typer.Option(min=10, help="Stop after so many queries,")] = 1000,
    seconds: Annotated[float, typer.Option(min=0.1, help="or after so many seconds.")] = 10.0,
    image: Annotated[Path | None, typer.Option(help="Face crop to use; default: a synthetic one.")] = None,
    device: Device = 0,
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
            lambda: Recognizer.open(bundle, engine, threads, device),
            frame,
            queries=queries,
            seconds=seconds,
            device=device,
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
    _print_device(report)
    memory = "unknown" if report.peak_memory_mb is None else f"{report.peak_memory_mb:.0f} MB"
    console().print(f"load {report.load_ms:.0f} ms, peak memory {memory}")
    environment = {"threads": threads or "as the engine chooses", **report.environment}
    console().print(", ".join(f"{name} {value}" for name, value in environment.items()), soft_wrap=True)


def _print_device(report: BenchReport) -> None:
    """Times on the GPU's own clock, and the state it was in."""
    from fer_edge.cli.output import console, print_table

    if not report.device:
        return
    columns = ("batch", "graph", "copy in", "compute", "copy out", "total p50", "p90", "p95", "p99")
    rows = [
        (
            result.batch,
            "yes" if result.graph else "no",
            *(f"{part.p50:.3f}" for part in (result.copy_in, result.compute, result.copy_out)),
            *(f"{getattr(result.total, name):.3f}" for name in ("p50", "p90", "p95", "p99")),
        )
        for result in report.device
    ]
    print_table("milliseconds on the GPU, by its own clock", columns, rows)
    if report.gpu is None:
        console().print(f"clocks and power unknown: {report.gpu_reason}", soft_wrap=True)
        return
    gpu = report.gpu
    power = "" if gpu.power_w is None else f", {gpu.power_w.median:.0f} W"
    held = ", ".join(gpu.held_down_by) or "nothing"
    console().print(
        f"{gpu.name}, driver {gpu.driver}: SM clock {gpu.sm_clock_mhz.least:.0f} to {gpu.sm_clock_mhz.most:.0f} MHz, "
        f"{gpu.temperature_c.most:.0f} degrees{power}; clocks held down by {held}",
        soft_wrap=True,
    )
