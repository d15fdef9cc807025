"""A bundle as a contender: `python -m fer_edge.benchmark.worker FILE`; see `contenders.py` for what it says.

FILE is JSON: bundle, engine, threads, allow_host_code, frame (a .npy file), box.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.benchmark.workload import Query, Workload, no_garbage_collection, recognition
from fer_edge.errors import FerEdgeError
from fer_edge.recognizer import Recognizer


def answer(query: Query, ready: dict[str, Any]) -> None:
    """Answer every line of standard input."""
    print(json.dumps({"ready": ready}), flush=True)
    for line in sys.stdin:
        with no_garbage_collection():
            stamps = [query() for _ in range(json.loads(line)["time"])]
        print(json.dumps({"nanoseconds": [one[-1] - one[0] for one in stamps]}), flush=True)


def main() -> None:
    """Load the bundle and answer."""
    asked = json.loads(Path(sys.argv[1]).read_text())
    box = None if asked["box"] is None else tuple(asked["box"])
    try:
        with Recognizer.open(
            asked["bundle"], asked["engine"], asked["threads"], allow_host_code=asked["allow_host_code"]
        ) as recognizer:
            answer(recognition(recognizer, Workload(np.load(asked["frame"]), box)), {})
    except FerEdgeError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
