"""One part of a long run in a process of its own; `tests.endurance.run` starts and watches it."""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.endurance.faults import FAULTS_AT_RANDOM, VARIABLE, arm
from tests.endurance.parts import Live, Serve, Sweeps, Trackers
from tests.endurance.recognizers import Recognizers
from tests.endurance.tally import Tally

ENGINES = ("openvino", "onnxruntime")
PARTS = (*(f"{kind} {engine}" for engine in ENGINES for kind in ("recognizers", "trackers", "live", "serve")), "sweep")
STATUS_SECONDS = 1.0
_WRITING = threading.Lock()


def make_part(name: str, folder: Path, bundle: Path, seed: int, rate: int, seconds: float, tally: Tally) -> Any:
    """Make a part, and arm its faults.

    Args:
        name: Name of the part.
        folder: Folder of the part.
        bundle: Bundle.
        seed: Seed.
        rate: Calls of a million that fail.
        seconds: Length of a round.
        tally: Counts of the part.
    """
    kind, _, engine = name.partition(" ")
    work = folder / "work"  # with faults
    work.mkdir()
    setting = FAULTS_AT_RANDOM.setting(work, rate, folder / "counts", seed)
    if kind == "sweep":
        return Sweeps(work, seed, tally)
    if kind == "serve":  # the faults are the server's
        library = os.environ.get("LD_PRELOAD", "")
        return Serve(bundle, engine, {"LD_PRELOAD": library, VARIABLE: setting if library else ""}, tally, seconds)
    makers: dict[str, Callable[[], Any]] = {
        "recognizers": lambda: Recognizers(bundle, engine, folder, seed, tally, seconds),
        "trackers": lambda: Trackers(bundle, engine, seed, tally, seconds),
        "live": lambda: Live(bundle, engine, work, seed, tally, seconds),
    }
    part = makers[kind]()
    if rate:
        arm(setting)
    return part


def usage(process: int) -> tuple[float, int, int]:
    """Return memory in MB, open files and threads of a process."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    files = len(os.listdir(f"/proc/{process}/fd"))  # noqa: PTH208  unlike iterdir, keeps no handle open
    return int(fields["VmRSS"].split()[0]) / 1000, files, int(fields["Threads"])


def write_status(folder: Path, tally: Tally) -> None:
    """Write the counts of a part, whole or not at all."""
    with _WRITING:
        _write_status(folder, tally)


def _write_status(folder: Path, tally: Tally) -> None:
    data = {**vars(tally), "failures": dict(tally.failures)}
    data.pop("_lock")
    path = folder / "status.json"
    path.with_suffix(".new").write_text(json.dumps(data))
    path.with_suffix(".new").replace(path)


def main() -> int:
    """Run rounds of a part until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=PARTS)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    ended, tally = threading.Event(), Tally()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    part = make_part(options.name, options.folder, options.bundle, options.seed, options.rate, options.seconds, tally)

    def report() -> None:
        while not ended.wait(STATUS_SECONDS):
            write_status(options.folder, tally)

    reporter = threading.Thread(target=report, daemon=True)
    if options.name != "sweep":  # which forks: a thread could hold a lock
        reporter.start()
    try:
        while not ended.is_set():
            part.round()
            tally.add(rounds=1)
            gc.collect()
            with suppress(OSError, ValueError, KeyError):  # a server that has just ended
                tally.usage = usage(tally.process or os.getpid())
            write_status(options.folder, tally)
    finally:
        ended.set()
        if reporter.is_alive():
            reporter.join()
        write_status(options.folder, tally)
        if hasattr(part, "close"):
            part.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
