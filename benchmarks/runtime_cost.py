"""What the runtime adds to the bare engine, and what preparing a face costs, in microseconds.

    PYTHONPATH=. .venv/bin/python benchmarks/runtime_cost.py

The bare engine is OpenVINO's request with its tensors bound, called from Python; it and the recognizer take turns, so
that both share whatever else the machine does. `--bundle` names another model; what is added does not depend on it.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.bench.environment import environment
from fer_edge.bench.noise import Watch
from fer_edge.bench.workload import no_garbage_collection, synthetic_workload
from fer_edge.recognizer import Recognizer, shipped_bundle

Times = npt.NDArray[np.float64]
SIDES = (80, 112, 160, 240, 480)  # of face boxes


def take_turns(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Times]:
    """Microseconds of each in every round."""
    times = {name: np.zeros(rounds) for name in calls}
    with no_garbage_collection():
        for index in range(rounds):
            for name, call in calls.items():
                started = time.perf_counter_ns()
                call()
                times[name][index] = (time.perf_counter_ns() - started) / 1e3
    return times


def measure(bundle: Path, threads: int, rounds: int) -> dict[str, float]:
    """All figures."""
    frame = synthetic_workload().frame
    box = (100.0, 100.0, 112.0, 112.0)
    boxes = {f"prepare a box of {side}": (0.0, 0.0, float(side), float(side)) for side in SIDES}
    with Recognizer.open(bundle, "openvino", threads) as recognizer:
        runner: Any = recognizer.runner
        face = recognizer.preprocess(frame, [box]).copy()
        times = take_turns(
            {
                "bare engine": lambda: runner._single.infer(share_outputs=True),
                "runner": lambda: runner.infer(face),
                "recognizer": lambda: recognizer.recognize(frame, box),
            },
            rounds,
        )
        times |= take_turns({name: partial(recognizer.preprocess, frame, [box]) for name, box in boxes.items()}, rounds)
    found = {name: float(np.median(taken)) for name, taken in times.items()}
    for name in ("runner", "recognizer"):
        # Of neighbours in time: what the machine did to both cancels out.
        found[f"{name} adds"] = float(np.median(times[name] - times["bare engine"]))
    found["recognizer adds, percent"] = 100 * found["recognizer adds"] / found["bare engine"]
    return {name: round(value, 1) for name, value in found.items()}


def main() -> None:
    """Print figures; write them as CSV where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=shipped_bundle())
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    with Watch() as watch:
        figures = measure(arguments.bundle, arguments.threads, arguments.rounds)
    result: dict[str, object] = {**figures}
    result |= {"threads": arguments.threads, "rounds": arguments.rounds, "noise": "; ".join(watch.noise.warnings)}
    result |= environment()
    for name, value in result.items():
        print(f"{name}: {value}")
    if arguments.csv is not None:
        with arguments.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, result.keys())
            writer.writeheader()
            writer.writerow(result)


if __name__ == "__main__":
    main()
