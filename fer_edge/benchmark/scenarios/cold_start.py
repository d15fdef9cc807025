"""Cold start: time to the first result of a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
from PIL import Image

from fer_edge._text import one_line
from fer_edge.benchmark.drawing import Figure, Plot, new_figure
from fer_edge.benchmark.formatting import megabytes, with_interval
from fer_edge.benchmark.rows import Row
from fer_edge.benchmark.scenario import Scenario, Session, Stamps
from fer_edge.benchmark.scenarios import _first_result
from fer_edge.benchmark.statistics import Estimate, percentile
from fer_edge.benchmark.worker import temporary_folder, write_settings
from fer_edge.engines.base import Runner
from fer_edge.errors import EngineError
from fer_edge.html.theme import SERIES
from fer_edge.results import Quantity, Table

IMPORT_RUNS = 3
TIMEOUT = 600  # seconds for one process


@dataclass(frozen=True)
class Memory:
    """Resident memory in MB of a process that only recognises faces. None: unknown."""

    imported: float | None
    loaded: float | None
    at_work: float | None
    peak: float | None


@dataclass(frozen=True)
class ColdStart:
    """Result of the cold-start scenario: medians in milliseconds. Files come from the page cache, not from the disk."""

    runs: int
    first_result: Estimate  # from the start of the process
    python: Estimate  # until the interpreter runs the first line of our code
    imports: Estimate  # of NumPy, Pillow and fer_edge
    own_imports: Annotated[float, Quantity(unit="ms")]  # of fer_edge's modules alone, from `python -X importtime`
    load: Estimate  # verifying the bundle, importing and loading the engine, one inference
    first_query: Estimate
    predict_command: Estimate  # `fer-edge predict` on an image file, until its first line of output
    memory: Memory
    # First result without compiled kernels; None: the engine caches no kernels.
    first_start: Annotated[float | None, Quantity("first start with kernel compilation", "ms")] = None


def run_cold_start(session: Session) -> ColdStart:
    """Start processes one after another and time the steps of their start.

    On a GPU, one more process starts with an empty cache folder, because this process filled the user's cache when it
    loaded the engine. If the folder is still empty afterwards, the engine caches no kernels.

    Args:
        session: Bundle, engine, options, frame and number of processes.

    Raises:
        EngineError: Failed process; the message has its output.
        FerEdgeError: No temporary folder can be created.
    """
    workload, runs = session.plan.workload, session.plan.cold_starts
    with temporary_folder() as folder:
        image = folder / "frame.png"
        Image.fromarray(workload.frame).save(image)
        file = folder / "settings.json"
        settings = write_settings(file, session.bundle.path, session.engine, session.options, workload)
        command = _predict_command(session, image)
        results, predict_times = [], []
        for run in range(runs):
            session.progress(run / (runs + 1))
            results.append(_time_first_result(settings))
            predict_times.append(_time_first_line(command))
        first_start = _first_start(settings, folder / "kernels") if session.recognizer.runner.has_device else None
        own_imports = median(_own_imports() for _ in range(IMPORT_RUNS))
    return replace(_summarise(results, predict_times, own_imports), first_start=first_start)


def _summarise(results: list[dict[str, Any]], predict_times: list[float], own_imports: float) -> ColdStart:
    """Return the medians of all runs."""

    def median_of(values: list[float]) -> Estimate:
        return percentile(np.array(values), 0.5)

    def between(first: str, last: str) -> Estimate:
        return median_of([(result["steps"][last] - result["steps"][first]) / 1e6 for result in results])

    memory = results[-1]["memory_mb"]
    return ColdStart(
        runs=len(results),
        first_result=between("started", "first query"),
        python=between("started", "python"),
        imports=between("python", "fer_edge"),
        own_imports=own_imports,
        load=median_of([(result["steps"]["load"] - result["load_began"]) / 1e6 for result in results]),
        first_query=between("load", "first query"),
        predict_command=median_of(predict_times),
        memory=Memory(memory["imported"], memory["loaded"], memory["at work"], memory["peak"]),
    )


def _first_start(settings: Path, cache: Path) -> float | None:
    """Return the milliseconds to a first result that compiles kernels into `cache`; None if it stays empty."""
    cache.mkdir()
    steps = _time_first_result(settings, {"FER_EDGE_CACHE": str(cache)})["steps"]
    return (steps["first query"] - steps["started"]) / 1e6 if any(cache.iterdir()) else None


def _time_first_result(settings: Path, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a process to its first result and return its output."""
    # With `python -m`, Python would import fer_edge before the clock of the process starts.
    source = Path(_first_result.__file__).read_text(encoding="utf-8")
    started = time.perf_counter_ns()
    output, _ = _run([sys.executable, "-c", source, str(settings)], variables)
    result: dict[str, Any] = json.loads(output)
    result["steps"]["started"] = started
    return result


def _predict_command(session: Session, image: Path) -> list[str]:
    """Return the command that recognises the face in an image file with `fer-edge predict`."""
    bundle, options, box = session.bundle.path, session.options, session.plan.workload.box
    command = [sys.executable, "-m", "fer_edge", "predict", str(image), "--bundle", str(bundle), "--json"]
    text = None if box is None else ",".join(map(str, box))
    values = {"--engine": session.engine, "--threads": options.threads, "--box": text}
    command += [str(part) for name, value in values.items() if value is not None for part in (name, value)]
    command += ["--crop"] if box is None else []
    return [*command, "--allow-host-code"] if options.allow_host_code else command


def _time_first_line(command: list[str]) -> float:
    """Return the milliseconds from the start of a process to its first line of output."""
    started = time.perf_counter_ns()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        milliseconds = (time.perf_counter_ns() - started) / 1e6
        _, errors = process.communicate(timeout=TIMEOUT)
    if not line:
        raise EngineError(f"{' '.join(command[1:5])} printed nothing: {one_line(errors.strip()[-500:], 500)}")
    return milliseconds


def _own_imports() -> float:
    """Return the milliseconds that Python takes to import fer_edge's own modules."""
    _, errors = _run([sys.executable, "-X", "importtime", "-c", "import fer_edge.recognizer"])
    return sum(microseconds for name, microseconds in _import_times(errors) if name.split(".")[0] == "fer_edge") / 1e3


def _import_times(report: str) -> list[tuple[str, int]]:
    """Parse lines of `import time: self [us] | cumulative | imported package` into modules and microseconds."""
    rows = [line.removeprefix("import time:").split("|") for line in report.splitlines() if "|" in line]
    return [(row[2].strip(), int(row[0])) for row in rows if row[0].strip().isdigit()]


def _run(command: list[str], variables: Mapping[str, str] | None = None) -> tuple[str, str]:
    """Run a process and return its standard output and standard error."""
    environment = {**os.environ, **(variables or {})}
    try:
        process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT, env=environment)
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"a process did not finish within {TIMEOUT} s") from error
    if process.returncode != 0:
        errors = one_line(process.stderr.strip()[-500:], 500)
        raise EngineError(f"a process failed with exit code {process.returncode}: {errors}")
    return process.stdout, process.stderr


class ColdStartScenario(Scenario[ColdStart]):
    """Fresh processes."""

    title = "Cold start"
    about = "Fresh processes; files come from the page cache."
    order = 60

    def unsupported_reason(self, engine: str, runner: Runner, device: int) -> str:
        if runner.has_device and device:
            return f"it measures GPU 0 only, and the device is {device}"
        return ""

    def run(self, session: Session) -> ColdStart:
        return run_cold_start(session)

    def tables(self, result: ColdStart) -> list[Table]:
        steps = {
            "first result": result.first_result,
            "- until Python runs": result.python,
            "- imports": result.imports,
            "- load": result.load,
            "- first query": result.first_query,
            "fer-edge predict": result.predict_command,
        }
        rows = [(name, with_interval(estimate, 0)) for name, estimate in steps.items()]
        if result.first_start is not None:
            rows.append(("first start with kernel compilation (one run)", f"{result.first_start:.0f}"))
        return [Table(f"fresh process, medians of {result.runs}", ("from the start of the process", "ms"), tuple(rows))]

    def notes(self, result: ColdStart) -> list[str]:
        memory = result.memory
        return [
            f"imports of fer_edge's own modules {result.own_imports:.0f} ms; memory: after imports "
            f"{megabytes(memory.imported)}, loaded {megabytes(memory.loaded)}, at work {megabytes(memory.at_work)}, "
            f"peak {megabytes(memory.peak)}"
        ]

    def rows(self, result: ColdStart) -> list[Row]:
        sizes = {name.replace("_", " "): size for name, size in vars(result.memory).items()}
        memory = [Row(self.name, name, "memory", "MB", size) for name, size in sizes.items() if size is not None]
        return [*super().rows(result), *memory]

    def plots(self, result: ColdStart, stamps: Stamps | None) -> list[Plot]:
        return [Plot(lambda: draw_cold_start(result), "Steps to the first result.")]

    def tiles(self, result: ColdStart) -> list[tuple[str, str]]:
        tiles = [("first result of a process", f"{result.first_result.value:.0f} ms")]
        peak = result.memory.peak
        return tiles if peak is None else [*tiles, ("peak memory of that process", f"{peak:.0f} MB")]


def draw_cold_start(result: ColdStart) -> Figure:
    """Draw the steps to the first result, one after another."""
    figure, axes = new_figure(1.7)
    steps = {
        "Python": result.python.value,
        "imports": result.imports.value,
        "load": result.load.value,
        "first query": result.first_query.value,
    }
    start = 0.0
    for color, (name, duration) in zip(SERIES, steps.items(), strict=False):
        axes.barh(0, duration, left=start, color=color, height=0.5, label=f"{name} {duration:.0f}")
        start += duration
    axes.set(yticks=[], xlabel="milliseconds since the start of the process", ylim=(-0.5, 0.5))
    axes.spines["left"].set_visible(False)
    figure.legend(loc="outside upper left", ncols=4, fontsize=9, handlelength=1)
    return figure


SCENARIO = ColdStartScenario()
