"""A process that does nothing but recognise one face: `python -m fer_edge.benchmark.first_result FILE`.

FILE is JSON: bundle, engine, threads, allow_host_code, frame (a .npy file), box. Prints JSON: when each step ended, on
the clock that all processes share, and how large the process was by then. `time.monotonic` would be shared too, but
moves every 15.6 ms on Windows before Python 3.13.
"""

import time

STARTED = time.perf_counter_ns()

import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

QUERIES = 50  # afterwards, so that memory is that of a process at work


def main() -> None:
    """Print the steps."""
    asked = json.loads(Path(sys.argv[1]).read_text())
    steps = {"python": STARTED}

    import numpy as np

    steps["numpy"] = time.perf_counter_ns()

    from fer_edge.recognizer import Recognizer

    steps["fer_edge"] = time.perf_counter_ns()

    from fer_edge.benchmark.environment import memory_mb, peak_memory_mb

    memory = {"imported": memory_mb()}
    frame = np.load(asked["frame"])
    box = None if asked["box"] is None else tuple(asked["box"])
    began = time.perf_counter_ns()
    with Recognizer.open(
        asked["bundle"], asked["engine"], asked["threads"], allow_host_code=asked["allow_host_code"]
    ) as recognizer:
        steps["load"] = time.perf_counter_ns()
        memory["loaded"] = memory_mb()
        recognizer.recognize(frame, box)
        steps["first query"] = time.perf_counter_ns()
        for _ in range(QUERIES):
            recognizer.recognize(frame, box)
        memory["at work"] = memory_mb()
        memory["peak"] = peak_memory_mb()
    print(json.dumps({"steps": steps, "load_began": began, "memory_mb": memory}))


if __name__ == "__main__":
    main()
