"""`fer-edge bench-compare`."""

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from fer_edge.choices import EngineName
from fer_edge.cli.option_checks import check_choice, shipped_path
from fer_edge.cli.options import AllowHostCode, CsvOut, FaceBox, Frame, Json, Threads

if TYPE_CHECKING:
    from fer_edge.benchmark.workload import Workload


def bench_compare(
    contenders: Annotated[
        list[str],
        typer.Argument(metavar="BUNDLE[@ENGINE]...", help="Two or more .fer files; after an @, one of its engines."),
    ],
    threads: Threads = None,
    allow_host_code: AllowHostCode = False,
    rounds: Annotated[int, typer.Option(min=6, help="How often all take their turn.")] = 40,
    turn: Annotated[int, typer.Option(min=1, help="Queries of a turn that count.")] = 10,
    image: Frame = None,
    box: FaceBox = None,
    csv: CsvOut = None,
    json: Json = False,
) -> None:
    """Compare bundles or engines with each other, taking turns.

    Each runs in a process of its own. Ratios are to the first one: below 1 is faster.

    Example: fer-edge bench-compare edge.fer@openvino edge.fer@onnxruntime --threads 2
    """
    from fer_edge._files import check_output
    from fer_edge.benchmark.compare import comparisons, take_turns_of
    from fer_edge.benchmark.csv_rows import csv_from_records, records_from_comparisons
    from fer_edge.benchmark.noise import NoiseMonitor
    from fer_edge.benchmark.temporary import temporary_folder
    from fer_edge.cli.bench import chosen_workload
    from fer_edge.cli.bench_display import print_comparisons, print_warnings, scenario_progress
    from fer_edge.cli.output import print_json, write_text

    contenders = [_resolved(name) for name in contenders]
    if len(set(contenders)) < 2 or len(set(contenders)) < len(contenders):
        raise typer.BadParameter(f"expected two or more different contenders; got {', '.join(contenders)}")
    if csv is not None:
        check_output(csv, image, *(Path(_split(name)[0]) for name in contenders))
    workload = chosen_workload(image, box)
    described = {"threads": threads or "engine's default", **_environment(contenders)}
    with temporary_folder() as folder, scenario_progress() as progress:
        commands = {
            name: _command(name, {"threads": threads, "allow_host_code": allow_host_code}, workload, folder, index)
            for index, name in enumerate(contenders)
        }
        with NoiseMonitor() as watch:
            times = take_turns_of(commands, rounds, turn, progress=lambda share: progress("taking turns", share))
    found, done = comparisons(times), len(next(iter(times.values())))
    if csv is not None:
        write_text(csv, csv_from_records(records_from_comparisons(found), described))
    print_warnings({"the comparison": watch.noise})
    if json:
        print_json({"contenders": found, "rounds": done, "turn": turn, "noise": watch.noise, "environment": described})
    else:
        print_comparisons(found, done, turn)
    if done < rounds:
        raise KeyboardInterrupt(f"stopped after {done} of {rounds} rounds")


def _environment(names: list[str]) -> dict[str, str]:
    """That of the figures: where a contender runs on a GPU, the GPU too."""
    from fer_edge.benchmark.environment import environment, gpu_environment
    from fer_edge.bundle import Bundle
    from fer_edge.engines.registry import get_engine

    engines = {Bundle.open(bundle).entry(engine).engine for bundle, engine in map(_split, names)}
    on_gpu = any(get_engine(engine).for_gpus for engine in engines)
    return environment() | (gpu_environment() if on_gpu else {})


def _split(name: str) -> tuple[str, str | None]:
    """A contender's bundle, and its engine if one is named."""
    bundle, at, engine = name.rpartition("@")
    return (name, None) if not at or "/" in engine or engine.endswith(".fer") else (bundle, engine or None)


def _resolved(name: str) -> str:
    """A contender with the path of a shipped bundle in place of its name, and an engine that exists.

    Raises:
        BadParameter: There is no such engine, or nothing is shipped by that name.
    """
    bundle, engine = _split(name)
    if engine is not None:
        check_choice("engine", engine, get_args(EngineName))
    path = shipped_path("bundle")(bundle)
    return str(path) if engine is None else f"{path}@{engine}"


def _command(name: str, options: dict[str, object], workload: Workload, folder: Path, index: int) -> list[str]:
    """How a contender is started."""
    import numpy as np

    bundle, engine = _split(name)
    frame, asked = folder / "frame.npy", folder / f"{index}.json"
    if not frame.exists():
        np.save(frame, workload.frame)
    described = {"bundle": bundle, "engine": engine, "box": workload.box, **options}
    asked.write_text(json_format.dumps({**described, "frame": str(frame)}))
    return [sys.executable, "-m", "fer_edge.benchmark.worker", str(asked)]
