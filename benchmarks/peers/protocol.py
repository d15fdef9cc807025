"""The contender's side of the suite, for every environment: standard library and NumPy only.

A contender prints one line {"ready": {...}}, then answers each line of standard input with one of its own:

    {"time": 10}       {"nanoseconds": [...]}  ten queries, one face after the other
    {"choose": 100}    {"choices": [...]}      the label of each of the first hundred faces, as an index of "labels"

A query starts from one face, uint8 RGB (48, 48, 3), as the data set has it, and ends with the index of its label:
scaling and normalising are part of it.
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
    """Options that every contender has."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--faces", type=Path, required=True, help="bytes of uint8 RGB faces, 48 x 48, one after another")
    found.add_argument("--threads", type=int, required=True)
    return found


def answer(recognise: Callable[[Face], int], faces: Path, ready: dict[str, Any]) -> None:
    """Say what this contender is and answer every line.

    Args:
        recognise: One query.
        faces: The file of faces.
        ready: What is said: "labels", "bytes" of the model and "versions".
    """
    images = np.fromfile(faces, np.uint8).reshape(-1, SIDE, SIDE, 3)
    turn = itertools.cycle(range(len(images)))
    recognise(images[0])
    print(json.dumps({"ready": {"python": sys.version.split()[0], **ready}}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "time" in asked:
            told: dict[str, Any] = {"nanoseconds": _time(recognise, images, turn, asked["time"])}
        else:
            told = {"choices": [int(recognise(image)) for image in images[: asked["choose"]]]}
        print(json.dumps(told), flush=True)


def _time(recognise: Callable[[Face], int], images: npt.NDArray[np.uint8], turn: Any, queries: int) -> list[int]:
    taken = []
    gc.collect()
    gc.disable()
    for _ in range(queries):
        image = images[next(turn)]
        started = time.perf_counter_ns()
        recognise(image)
        taken.append(time.perf_counter_ns() - started)
    gc.enable()
    return taken
