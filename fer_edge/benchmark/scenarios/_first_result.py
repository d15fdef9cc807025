"""Program of the cold start: recognises one face, then prints the time of each step and the memory as JSON.

Times are those of `time.perf_counter_ns`, which all processes share. `time.monotonic` is shared too, but its resolution
on Windows is 15.6 ms before Python 3.13. The argument is a file of `fer_edge.benchmark.worker.write_settings`.

Everything but the standard library is imported inside `main`, which times these imports.
"""

from __future__ import annotations

import time

STARTED = time.perf_counter_ns()

import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

QUERIES = 50  # queries after the first result, to measure the memory of a process at work


def main() -> None:
    """Recognise one face and print the time of every step."""
    settings = json.loads(Path(sys.argv[1]).read_text())
    steps = {"python": STARTED}

    import numpy as np

    steps["numpy"] = time.perf_counter_ns()

    from fer_edge.recognizer import Recognizer

    steps["fer_edge"] = time.perf_counter_ns()

    from fer_edge.environment import memory_mb, peak_memory_mb

    memory = {"imported": memory_mb()}
    frame, box = np.load(settings["frame"]), settings["box"]
    began = time.perf_counter_ns()
    with Recognizer.open(**settings["recognizer"]) as recognizer:
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
