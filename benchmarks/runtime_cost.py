"""Measure the overhead of the runtime, the time of preprocessing, and the memory of batches.

    PYTHONPATH=. .venv/bin/python benchmarks/runtime_cost.py

The overhead is the time of runner and recognizer minus that of the bare engine: OpenVINO's request with bound tensors,
called from Python. They alternate query by query, so that other load affects all of them equally, and adjacent queries
are compared. The overhead depends on the model, because a larger model leaves colder caches. It is therefore also
measured with a model of a few operators, where only the recognizer's own Python remains.
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

from benchmarks import in_process
from fer_edge.benchmark.noise import NoiseMonitor
from fer_edge.benchmark.rows import Row
from fer_edge.benchmark.statistics import effective_count, percentile
from fer_edge.benchmark.workload import no_garbage_collection, synthetic_workload
from fer_edge.recognizer import Recognizer, shipped_bundle
from tests.tiny import tiny_bundle

Times = npt.NDArray[np.float64]
SIDES = (80, 112, 160, 240, 480)  # of face boxes, in pixels
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
# getrusage would include the process that started this one.
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def query_by_query(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Times]:
    """Call every function once per round and return the microseconds, shape (rounds,), by name."""
    times = {name: np.zeros(rounds) for name in calls}
    with no_garbage_collection():
        for index in range(rounds):
            for name, call in calls.items():
                started = time.perf_counter_ns()
                call()
                times[name][index] = (time.perf_counter_ns() - started) / 1e3
    return times


def overhead(bundle: Path, threads: int, rounds: int) -> dict[str, Times]:
    """Return the microseconds of engine, runner and recognizer, and the overhead of the last two."""
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
    overheads = {f"{name} overhead": times[name] - times["bare engine"] for name in ("runner", "recognizer")}
    return {**times, **overheads}


def preprocessing(bundle: Path, threads: int, rounds: int) -> dict[str, Times]:
    """Return the microseconds of cropping and resampling a face, by the side of its box."""
    frame = synthetic_workload().frame
    boxes = {f"box of {side} pixels": (0.0, 0.0, float(side), float(side)) for side in SIDES}
    with Recognizer.open(bundle, "openvino", threads) as recognizer:
        calls = {name: partial(recognizer.preprocess, frame, [box]) for name, box in boxes.items()}
        return query_by_query(calls, rounds)


def peak_memory(bundle: Path, threads: int, batch: int) -> float:
    """Return the peak resident memory in MB of a process that recognises batches of faces."""
    command = [sys.executable, "-c", PEAK, str(bundle), str(threads), str(batch)]
    process = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(process.stdout) * 1024 / 1e6


def median_rows(scenario: str, times: Mapping[str, Times]) -> list[Row]:
    """Return medians with their intervals."""
    medians = {name: percentile(values, 0.5, effective_count(values)) for name, values in times.items()}
    return [Row(scenario, name, "p50", "us", median.value, median.low, median.high) for name, median in medians.items()]


def main() -> None:
    """Print results and write them as CSV if a file is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=shipped_bundle())
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, NoiseMonitor() as monitor:
        tiny = tiny_bundle(Path(folder) / "tiny.fer")
        times = overhead(options.bundle, options.threads, options.rounds)
        rows = median_rows("runtime", times)
        share = 100 * float(np.median(times["recognizer overhead"]) / np.median(times["bare engine"]))
        rows.append(Row("runtime", "recognizer overhead", "share", "%", share))
        rows += median_rows("runtime, a model of a few operators", overhead(tiny, options.threads, options.rounds))
        rows += median_rows("preprocessing", preprocessing(tiny, options.threads, options.rounds))
        for batch in (1, BATCH):
            peak = peak_memory(options.bundle, options.threads, batch)
            rows.append(Row("memory", f"batches of {batch}", "peak", "MB", peak))
    for row in rows:
        print(f"{row.scenario}: {row.setting}: {row.figure} {row.value:.1f} {row.unit}")
    settings = {"bundle": options.bundle.name, "threads": options.threads, "rounds": options.rounds}
    in_process.finish(rows, settings, monitor, options.csv)


if __name__ == "__main__":
    main()
