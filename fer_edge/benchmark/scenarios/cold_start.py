"""Cold start: what a user waits for before the first result, each time in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from fer_edge._text import one_line
from fer_edge.benchmark import first_result
from fer_edge.benchmark.statistics import Estimate, percentile
from fer_edge.benchmark.temporary import temporary_folder
from fer_edge.benchmark.workload import Workload
from fer_edge.errors import EngineError

RUNS = 8  # six is the fewest that give an interval
IMPORT_RUNS = 3
PATIENCE = 600  # seconds for one process


@dataclass(frozen=True)
class Memory:
    """Resident megabytes of a process that only recognises; None: the system does not tell."""

    imported: float | None
    loaded: float | None
    at_work: float | None
    peak: float | None


@dataclass(frozen=True)
class ColdStart:
    """Milliseconds, medians over the runs. Files are in the system's cache: what a disk adds is not in them."""

    runs: int
    first_result: Estimate  # from the start of the process
    python: Estimate  # until the interpreter runs our first line
    imports: Estimate  # numpy, Pillow and fer_edge
    own_imports: float  # fer_edge's own modules alone, as `-X importtime` counts them
    load: Estimate  # checking the bundle, importing and starting the engine, one inference
    first_query: Estimate
    predict_command: Estimate  # `fer-edge predict` on an image file, until it prints
    memory: Memory
    first_start: float | None = None  # first_result with no kernels compiled before; None: the engine keeps none


def run_cold_start(
    bundle: Path,
    engine: str | None,
    threads: int | None,
    workload: Workload,
    *,
    allow_host_code: bool = False,
    on_gpu: bool = False,
    runs: int = RUNS,
    progress: Callable[[float], None] = lambda share: None,
) -> ColdStart:
    """Start processes one after the other and time their steps.

    On a GPU there is one more, with an empty folder for compiled kernels: this process has filled the usual one when it
    loaded the engine. If nothing is in it afterwards, the engine keeps none there, and its first start is as any other.

    Raises:
        EngineError: A process failed; says what it said.
        FerEdgeError: There is nowhere to make a temporary folder.
    """
    with temporary_folder() as folder:
        frame, image, asked = folder / "frame.npy", folder / "frame.png", folder / "asked.json"
        np.save(frame, workload.frame)
        Image.fromarray(workload.frame).save(image)
        described = {"bundle": str(bundle), "engine": engine, "threads": threads, "box": workload.box}
        asked.write_text(json.dumps({**described, "frame": str(frame), "allow_host_code": allow_host_code}))
        command = _predict_command(bundle, engine, threads, image, workload)
        command += ["--allow-host-code"] if allow_host_code else []
        found, predicted = [], []
        for run in range(runs):
            progress(run / (runs + 1))
            found.append(_first_result(asked))
            predicted.append(_until_printed(command))
        first_start = _first_start(asked, folder / "kernels") if on_gpu else None
        own = median(_own_imports() for _ in range(IMPORT_RUNS))
    return replace(_summarise(found, predicted, own), first_start=first_start)


def _summarise(found: list[dict[str, Any]], predicted: list[float], own: float) -> ColdStart:
    def middle(values: list[float]) -> Estimate:
        return percentile(np.array(values), 0.5)

    def between(first: str, last: str) -> Estimate:
        return middle([(one["steps"][last] - one["steps"][first]) / 1e6 for one in found])

    last = found[-1]["memory_mb"]
    return ColdStart(
        runs=len(found),
        first_result=between("started", "first query"),
        python=between("started", "python"),
        imports=between("python", "fer_edge"),
        own_imports=own,
        load=middle([(one["steps"]["load"] - one["load_began"]) / 1e6 for one in found]),
        first_query=between("load", "first query"),
        predict_command=middle(predicted),
        memory=Memory(last["imported"], last["loaded"], last["at work"], last["peak"]),
    )


def _first_start(asked: Path, cache: Path) -> float | None:
    """Milliseconds to a first result that leaves kernels in `cache`."""
    cache.mkdir()
    steps = _first_result(asked, {"FER_EDGE_CACHE": str(cache)})["steps"]
    return (steps["first query"] - steps["started"]) / 1e6 if any(cache.iterdir()) else None


def _first_result(asked: Path, settings: Mapping[str, str] | None = None) -> dict[str, Any]:
    # The source on the command line, not `-m`: that would import fer_edge before the clock runs.
    source = Path(first_result.__file__).read_text()
    started = time.perf_counter_ns()
    output, _ = _run([sys.executable, "-c", source, str(asked)], settings)
    found: dict[str, Any] = json.loads(output)
    found["steps"]["started"] = started
    return found


def _predict_command(
    bundle: Path, engine: str | None, threads: int | None, image: Path, workload: Workload
) -> list[str]:
    command = [sys.executable, "-m", "fer_edge", "predict", str(image), "--model", str(bundle), "--json"]
    options = {"--engine": engine, "--threads": threads}
    if workload.box is not None:
        options["--box"] = ",".join(map(str, workload.box))
    return command + [str(part) for name, value in options.items() if value is not None for part in (name, value)]


def _until_printed(command: list[str]) -> float:
    """Milliseconds from the start of a process to its first line."""
    started = time.perf_counter_ns()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        took = (time.perf_counter_ns() - started) / 1e6
        _, errors = process.communicate(timeout=PATIENCE)
    if not line:
        raise EngineError(f"{' '.join(command[1:5])} printed nothing: {one_line(errors.strip()[-500:], 500)}")
    return took


def _own_imports() -> float:
    _, errors = _run([sys.executable, "-X", "importtime", "-c", "import fer_edge.recognizer"])
    return sum(microseconds for name, microseconds in _import_times(errors) if name.split(".")[0] == "fer_edge") / 1e3


def _import_times(report: str) -> list[tuple[str, int]]:
    """Modules and their own microseconds, from lines of `import time: self [us] | cumulative | imported package`."""
    rows = [line.removeprefix("import time:").split("|") for line in report.splitlines() if "|" in line]
    return [(row[2].strip(), int(row[0])) for row in rows if row[0].strip().isdigit()]


def _run(command: list[str], settings: Mapping[str, str] | None = None) -> tuple[str, str]:
    environment = {**os.environ, **(settings or {})}
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE, env=environment)
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"a process had no result after {PATIENCE} s") from error
    if found.returncode != 0:
        raise EngineError(f"a process failed with {found.returncode}: {one_line(found.stderr.strip()[-500:], 500)}")
    return found.stdout, found.stderr
