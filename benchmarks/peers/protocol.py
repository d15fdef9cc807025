"""Worker side of the peers' protocol, for every environment: standard library and NumPy only.

A worker prints one line {"ready": {...}}, then answers each line of standard input with one line:

    {"time": 10}       {"nanoseconds": [...]}  durations of ten queries, one face after another
    {"predict": 100}   {"predictions": [...]}  label of each of the first hundred faces, as an index into "labels"

A query starts from one face as stored in the data set, uint8 RGB of shape (48, 48, 3), and ends with the index of its
label. It includes scaling and normalisation.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SIDE = 48
Face = npt.NDArray[np.uint8]  # RGB (48, 48, 3)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every worker."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--faces", type=Path, required=True, help="file of uint8 RGB faces, 48 x 48, without a header")
    options.add_argument("--threads", type=int, required=True)
    return options


def serve(recognise: Callable[[Face], int], faces: Path, ready: dict[str, Any]) -> None:
    """Print the facts of this worker and answer every line.

    Args:
        recognise: One query: returns the index of a face's label.
        faces: File of faces.
        ready: Facts: "labels", "bytes" of the model and "versions".
    """
    images = np.fromfile(faces, np.uint8).reshape(-1, SIDE, SIDE, 3)
    order = itertools.cycle(range(len(images)))
    recognise(images[0])
    print(json.dumps({"ready": {"python": sys.version.split()[0], **ready}}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "time" in request:
            answer: dict[str, Any] = {"nanoseconds": _time(recognise, images, order, request["time"])}
        else:
            answer = {"predictions": [int(recognise(image)) for image in images[: request["predict"]]]}
        print(json.dumps(answer), flush=True)


def _time(recognise: Callable[[Face], int], images: npt.NDArray[np.uint8], order: Any, queries: int) -> list[int]:
    """Return the nanoseconds of each query."""
    durations = []
    gc.collect()
    gc.disable()
    for _ in range(queries):
        image = images[next(order)]
        started = time.perf_counter_ns()
        recognise(image)
        durations.append(time.perf_counter_ns() - started)
    gc.enable()
    return durations
