"""Processes that run a bundle for the benchmark, started as `python -m fer_edge.benchmark.worker MODE FILE`.

FILE is JSON with the settings of `settings_text`. Modes:

- `serve`: times queries on request, see `fer_edge.benchmark.turns`.
- `first-result`: recognises one face, then prints JSON: the time of each step of the start on `time.perf_counter_ns`,
  which all processes share, and the memory in MB. `time.monotonic` is shared too, but its resolution on Windows is
  15.6 ms before Python 3.13.

Everything but the standard library is imported inside functions: `first-result` times these imports.
"""

from __future__ import annotations

import time

STARTED = time.perf_counter_ns()

import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

if TYPE_CHECKING:
    from fer_edge.benchmark.workload import Query
    from fer_edge.boxes import XYWH
    from fer_edge.recognizer import Recognizer

QUERIES = 50  # queries after the first result, to measure the memory of a process at work


def settings_text(
    bundle: str,
    engine: str | None,
    *,
    threads: int | None,
    device: int,
    allow_host_code: bool,
    frame: Path,
    box: XYWH | None,
) -> str:
    """Return the content of a worker's settings file.

    Args:
        bundle: Path of the bundle.
        engine: Engine of the bundle; None: the first that runs on this machine.
        threads: Number of CPU threads; None: the default.
        device: CUDA index of the GPU.
        allow_host_code: Permission to run native code of a version-compatible TensorRT engine.
        frame: File of the frame (.npy).
        box: Face box in pixels; None: the whole frame.
    """
    recognizer = {"path": bundle, "engine": engine, "threads": threads, "device": device}
    return json.dumps({**recognizer, "allow_host_code": allow_host_code, "frame": str(frame), "box": box})


def serve(query: Query, ready: dict[str, Any]) -> None:
    """Time queries for every line of standard input.

    Args:
        query: Query to time.
        ready: Facts about this worker, for the first line of output.
    """
    from fer_edge.benchmark.workload import no_garbage_collection

    print(json.dumps({"ready": ready}), flush=True)
    for line in sys.stdin:
        with no_garbage_collection():
            stamps = [query() for _ in range(json.loads(line)["time"])]
        print(json.dumps({"nanoseconds": [stamp[-1] - stamp[0] for stamp in stamps]}), flush=True)


def _serve_bundle(settings: dict[str, Any]) -> None:
    """Open the bundle and serve."""
    import numpy as np

    from fer_edge.benchmark.workload import Workload, recognition
    from fer_edge.errors import FerEdgeError

    try:
        with _open(settings) as recognizer:
            serve(recognition(recognizer, Workload(np.load(settings["frame"]), _box(settings))), {})
    except FerEdgeError as error:
        raise SystemExit(f"error: {error}") from None


def _print_first_result(settings: dict[str, Any]) -> None:
    """Recognise one face and print the time of every step."""
    steps = {"python": STARTED}

    import numpy as np

    steps["numpy"] = time.perf_counter_ns()

    import fer_edge.recognizer  # noqa: F401

    steps["fer_edge"] = time.perf_counter_ns()

    from fer_edge.hardware.environment import memory_mb, peak_memory_mb

    memory = {"imported": memory_mb()}
    frame, box = np.load(settings["frame"]), _box(settings)
    began = time.perf_counter_ns()
    with _open(settings) as recognizer:
        steps["load"] = time.perf_counter_ns()
        memory["loaded"] = memory_mb()
        recognizer.recognize(frame, box)
        steps["first query"] = time.perf_counter_ns()
        for _ in range(QUERIES):
            recognizer.recognize(frame, box)
        memory["at work"] = memory_mb()
        memory["peak"] = peak_memory_mb()
    print(json.dumps({"steps": steps, "load_began": began, "memory_mb": memory}))


def _open(settings: dict[str, Any]) -> Recognizer:
    from fer_edge.recognizer import Recognizer

    names = ("path", "engine", "threads", "device", "allow_host_code")
    return Recognizer.open(**{name: settings[name] for name in names})


def _box(settings: dict[str, Any]) -> XYWH | None:
    box = settings["box"]
    return None if box is None else tuple(box)


def main() -> None:
    """Run the mode on the command line."""
    mode, file = sys.argv[1:]
    settings = json.loads(Path(file).read_text())
    if mode == "serve":
        _serve_bundle(settings)
    else:
        _print_first_result(settings)


if __name__ == "__main__":
    main()
