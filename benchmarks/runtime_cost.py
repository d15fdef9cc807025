"""What the runtime adds to the bare engine, what preparing a face costs, and what memory batches take.

    PYTHONPATH=. .venv/bin/python benchmarks/runtime_cost.py

The bare engine is OpenVINO's request with its tensors bound, called from Python; it and the recognizer take turns query
by query, so that both share whatever else the machine does, and neighbours in time are compared. `--bundle` names
another model: what is added depends on it, since a larger one leaves colder caches. So it is measured on a model of a
few operators too, which leaves the recognizer's own Python.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import turns
from fer_edge.benchmark.csv_rows import Record
from fer_edge.benchmark.noise import NoiseMonitor
from fer_edge.benchmark.statistics import effective_count, percentile
from fer_edge.benchmark.workload import no_garbage_collection, synthetic_workload
from fer_edge.recognizer import Recognizer, shipped_bundle
from tests.tiny import tiny_bundle

Times = npt.NDArray[np.float64]
SIDES = (80, 112, 160, 240, 480)  # of face boxes
FACE = (100.0, 100.0, 112.0, 112.0)
BATCH = 32
PEAK = """
import sys
import numpy as np
from fer_edge import Recognizer
frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
with Recognizer.open(sys.argv[1], "openvino", int(sys.argv[2])) as recognizer:
    for _ in range(3):
        recognizer.recognize_faces(frame, [(100, 100, 160, 160)] * int(sys.argv[3]))
# Not getrusage's figure, in which the process that started this one counts.
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def query_by_query(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Times]:
    """Microseconds of each in every round."""
    times = {name: np.zeros(rounds) for name in calls}
    with no_garbage_collection():
        for index in range(rounds):
            for name, call in calls.items():
                started = time.perf_counter_ns()
                call()
                times[name][index] = (time.perf_counter_ns() - started) / 1e3
    return times


def added(bundle: Path, threads: int, rounds: int) -> dict[str, Times]:
    """Microseconds of engine, runner and recognizer, and what the last two add to the query beside them."""
    frame = synthetic_workload().frame
    with Recognizer.open(bundle, "openvino", threads) as recognizer:
        runner: Any = recognizer.runner
        face = recognizer.preprocess(frame, [FACE]).copy()
        calls: dict[str, Callable[[], Any]] = {
            "bare engine": lambda: runner._single.infer(share_outputs=True),
            "runner": lambda: runner.infer(face),
            "recognizer": lambda: recognizer.recognize(frame, FACE),
        }
        times = query_by_query(calls, rounds)
    adds = {f"{name} adds": times[name] - times["bare engine"] for name in ("runner", "recognizer")}
    return {**times, **adds}


def preparing(bundle: Path, threads: int, rounds: int) -> dict[str, Times]:
    """Microseconds of cropping and resampling a face, by the side of its box."""
    frame = synthetic_workload().frame
    boxes = {f"prepare a box of {side}": (0.0, 0.0, float(side), float(side)) for side in SIDES}
    with Recognizer.open(bundle, "openvino", threads) as recognizer:
        calls = {name: partial(recognizer.preprocess, frame, [box]) for name, box in boxes.items()}
        return query_by_query(calls, rounds)


def peak_memory(bundle: Path, threads: int, batch: int) -> float:
    """Resident megabytes, at its peak, of a process that recognises so many faces at once."""
    command = [sys.executable, "-c", PEAK, str(bundle), str(threads), str(batch)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(found.stdout) * 1024 / 1e6


def records(setting: str, times: Mapping[str, Times]) -> list[Record]:
    """Medians with their intervals."""
    medians = {name: percentile(values, 0.5, effective_count(values)) for name, values in times.items()}
    return [Record(setting, name, "p50", "us", each.value, each.low, each.high) for name, each in medians.items()]


def main() -> None:
    """Print figures; write them as CSV where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=shipped_bundle())
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, NoiseMonitor() as watch:
        tiny = tiny_bundle(Path(folder) / "tiny.fer")
        times = added(given.bundle, given.threads, given.rounds)
        found = records("runtime", times)
        share = 100 * float(np.median(times["recognizer adds"]) / np.median(times["bare engine"]))
        found.append(Record("runtime", "recognizer adds", "share", "%", share))
        found += records("runtime, a model of a few operators", added(tiny, given.threads, given.rounds))
        found += records("preparing", preparing(tiny, given.threads, given.rounds))
        for batch in (1, BATCH):
            peak = peak_memory(given.bundle, given.threads, batch)
            found.append(Record("memory", f"batches of {batch}", "peak", "MB", peak))
    for each in found:
        print(f"{each.scenario}: {each.setting}: {each.figure} {each.value:.1f} {each.unit}")
    settings = {"bundle": given.bundle.name, "threads": given.threads, "rounds": given.rounds}
    turns.finish(found, settings, watch, given.csv)


if __name__ == "__main__":
    main()
