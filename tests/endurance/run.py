"""Long run of all parts, each in a process of its own, with faults at random, and one table.

    scripts/endure --hours 8 --json endure.json

Parts: recognizers, trackers, live sessions and the server, each on both CPU engines, and the sweep of faults. A part
that dies, or makes no progress for ten minutes, is a failure and is started again. Results are written each minute, so
that a run that is cut off leaves them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.serve_load import memory_slope
from fer_edge._files import write_atomically
from fer_edge.environment import environment
from fer_edge.results import Table
from fer_edge.tables import text_of_table
from tests.endurance.child import PARTS
from tests.endurance.faults import build_library, compiler, read_counts
from tests.tiny import tiny_bundle

ROOT = Path(__file__).parents[2]
STUCK_SECONDS, STOP_SECONDS = 600.0, 180.0
WRITE_SECONDS = 60.0
TRACE_SECONDS = 2.0  # for tracebacks of a process that is stuck
WIDTH = 80
Sample = tuple[float, float, int, int]  # seconds, MB, open files, threads


@dataclass
class Record:
    """What is left of one part: counts of ended processes, and samples of the last one.

    Attributes:
        name: Name of the part.
        frames: Frames of ended processes.
        refused: Their calls that ended with an error of fer-edge.
        faults: Faults that were injected into them.
        starts: Processes.
        failures: Violated properties of all processes.
        samples: Seconds, MB, open files and threads of the last process, between rounds.
    """

    name: str
    frames: int = 0
    refused: int = 0
    faults: int = 0
    starts: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)


class Part:
    """Process of a part, and its record.

    Args:
        name: Name of the part.
        folder: Folder for all of its processes.
        options: Options of the command line.
    """

    def __init__(self, name: str, folder: Path, options: argparse.Namespace) -> None:
        self.record = Record(name)
        self._root, self._options = folder / name.replace(" ", "-"), options
        self._status: dict[str, Any] = {}
        self._moved = time.monotonic()
        self.start()

    def start(self) -> None:
        """Start a process with new folders."""
        self.record.starts += 1
        self.record.samples.clear()
        self._status, self._moved, self._sampled = {}, time.monotonic(), 0
        self._folder = self._root / str(self.record.starts)
        self._folder.mkdir(parents=True)
        options = self._options
        command = [sys.executable, "-m", "tests.endurance.child", self.record.name]
        command += ["--folder", str(self._folder), "--bundle", str(options.bundle)]
        command += ["--seed", str(options.seed + self.record.starts), "--rate", str(options.rate)]
        command += ["--seconds", str(options.round)]
        preload = {} if options.library is None else {"LD_PRELOAD": str(options.library)}
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT), **preload}
            )

    def watch(self, seconds: float) -> None:
        """Take a sample, and start the part again if it has died or is stuck."""
        status = read_status(self._folder)
        if progress(status) != progress(self._status):
            self._moved = time.monotonic()
        self._status = status or self._status
        code = self._process.poll()
        if code is not None:
            self._fail(f"the process ended with exit status {code}: {self._last_line()}")
        elif time.monotonic() - self._moved > STUCK_SECONDS:
            self._process.send_signal(signal.SIGUSR1)  # its tracebacks go to the log
            time.sleep(TRACE_SECONDS)
            self._process.kill()
            self._fail("no progress; tracebacks of all threads are in the log")
        elif status.get("usage") and status["rounds"] > self._sampled:
            self._sampled = status["rounds"]
            memory, files, threads = status["usage"]
            self.record.samples.append((seconds, memory, files, threads))

    def _fail(self, reason: str) -> None:
        self._process.wait()
        self._add_status()
        self.record.failures[reason] += 1
        self.start()

    def _add_status(self) -> None:
        counts = self.counts()
        for name in ("frames", "refused", "faults"):
            setattr(self.record, name, counts[name])
        self.record.failures += Counter(self._status.get("failures", {}))
        self._status, self._folder = {}, self._root / "none"

    def counts(self) -> dict[str, int]:
        """Return frames, refused calls and faults of all processes of the part."""
        injected = read_counts(self._folder / "counts").faults
        own = {name: self._status.get(name, 0) for name in ("frames", "refused", "faults")}
        return {name: getattr(self.record, name) + own[name] + injected * (name == "faults") for name in own}

    def failures(self) -> Counter[str]:
        """Return the failures of all processes of the part."""
        return self.record.failures + Counter(self._status.get("failures", {}))

    def stop(self) -> None:
        """End the process after its round, and count a process that does not end as a failure."""
        self._process.send_signal(signal.SIGTERM)

    def join(self, seconds: float) -> None:
        """Wait for the end of the process, at most the given time."""
        try:
            code = self._process.wait(max(seconds, 0.1))
            reason = "" if not code else f"the process ended with exit status {code}: {self._last_line()}"
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            reason = "the process did not end"
        self._status = read_status(self._folder) or self._status
        self._add_status()
        if not self.record.frames and not reason:
            reason = f"no frame was processed; {self.record.refused} calls were refused"
        if reason:
            self.record.failures[reason] += 1

    def _last_line(self) -> str:
        lines = (self._folder / "log").read_text(errors="replace").splitlines()
        return lines[-1][:200] if lines else "no output"


def read_status(folder: Path) -> dict[str, Any]:
    """Read the counts of a process; empty before its first ones."""
    with suppress(OSError, ValueError):
        status: dict[str, Any] = json.loads((folder / "status.json").read_text())
        return status
    return {}


def progress(status: Mapping[str, Any]) -> tuple[int, int]:
    """Return what increases while a part makes progress."""
    return status.get("frames", 0), status.get("rounds", 0)


def hourly_slope(samples: Sequence[Sample]) -> tuple[float, float]:
    """Return the slope of memory in the second half of a run in MB per hour, and half its 95 % interval."""
    slope, interval = memory_slope([sample[:2] for sample in samples])
    return 60 * slope, 60 * interval


def row(part: Part) -> tuple[str, ...]:
    """Return a part's row of the table."""
    counts, samples = part.counts(), part.record.samples
    failed = min(sum(part.failures().values()), counts["faults"])
    slope, interval = hourly_slope(samples)
    first, last = (samples[0], samples[-1]) if samples else ((0.0, 0.0, 0, 0),) * 2
    return (
        part.record.name,
        f"{counts['frames']}",
        f"{counts['faults'] - failed} of {counts['faults']}",
        "-" if math.isnan(slope) else f"{slope:+.1f} ± {interval:.1f}",
        f"{first[2]}, {last[2]}",
        f"{first[3]}, {last[3]}",
    )


COLUMNS = ("part", "frames", "faults survived", "MB/hour", "files", "threads")


def tables(parts: Sequence[Part], hours: float) -> list[Table]:
    """Return the table of all parts, and the table of failures if there are any."""
    title = f"{hours:.2f} hours; files and threads: first, last"
    results = [Table(title, COLUMNS, tuple(row(part) for part in parts))]
    failures = [
        (part.record.name, str(count), reason) for part in parts for reason, count in part.failures().most_common(20)
    ]
    return results + ([Table("failures", ("part", "count", "reason"), tuple(failures))] if failures else [])


def report(parts: Sequence[Part], hours: float, options: argparse.Namespace) -> dict[str, Any]:
    """Return the JSON of a run."""
    entries = []
    for part in parts:
        slope, interval = hourly_slope(part.record.samples)
        entries.append(
            {
                "part": part.record.name,
                **part.counts(),
                "starts": part.record.starts,
                "failures": dict(part.failures()),
                "memory_mb_per_hour": None if math.isnan(slope) else slope,
                "memory_interval_95": None if math.isnan(interval) else interval,
                "samples": [
                    dict(zip(("s", "mb", "files", "threads"), sample, strict=True)) for sample in part.record.samples
                ],
            }
        )
    settings = {"seed": options.seed, "rate": options.rate, "round": options.round, "hours": options.hours}
    return {"hours": hours, "settings": settings, "environment": environment(), "parts": entries}


def write_results(parts: Sequence[Part], hours: float, options: argparse.Namespace) -> str:
    """Write the results so far, and return them as text."""
    text = "\n".join(text_of_table(table, WIDTH) for table in tables(parts, hours))
    if options.out is not None:
        write_atomically(options.out, (text + "\n").encode())
    if options.json is not None:
        write_atomically(options.json, json.dumps(report(parts, hours, options), indent=1).encode() + b"\n")
    return text


def run(options: argparse.Namespace, folder: Path) -> int:
    """Run all parts until the time is over, and return 1 after a failure."""
    seconds, start = 3600 * options.hours, time.monotonic()
    parts = [Part(name, folder, options) for name in options.part]
    written = start
    try:
        while (now := time.monotonic()) - start < seconds:
            for part in parts:
                part.watch(now - start)
            if now - written >= WRITE_SECONDS:
                written = now
                write_results(parts, (now - start) / 3600, options)
            time.sleep(min(options.sample, max(start + seconds - time.monotonic(), 0)))
    except KeyboardInterrupt:
        pass
    hours = (time.monotonic() - start) / 3600
    for part in parts:
        part.stop()
    end = time.monotonic() + STOP_SECONDS + options.round
    for part in parts:
        part.join(end - time.monotonic())
    print(write_results(parts, hours, options))
    failed = any(part.failures() for part in parts)
    if failed and options.keep is not None:
        shutil.copytree(folder, options.keep, dirs_exist_ok=True)
    return int(failed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--hours", type=float, default=8.0, help="length in hours, default 8")
    length.add_argument("--minutes", type=float, help="length in minutes instead")
    add("--part", action="append", choices=PARTS, help="part to run; repeat for several; default all")
    add("--seed", type=int, default=1, help="seed of inputs and faults, default 1")
    add("--rate", type=int, default=2000, help="calls of a million that fail, default 2000; 0: no faults")
    add("--round", type=float, default=20.0, help="seconds of a round, default 20")
    add("--sample", type=float, default=5.0, help="seconds between samples, default 5")
    add("--bundle", type=Path, help="bundle, default a tiny one, with which more rounds fit into an hour")
    add("--out", type=Path, metavar="FILE", help="text file for the table, written each minute")
    add("--json", type=Path, metavar="FILE", help="JSON file for all samples, written each minute")
    add("--keep", type=Path, metavar="DIR", help="folder for the logs of a run with failures")
    options = parser.parse_args(arguments)
    if options.minutes is not None:
        options.hours = options.minutes / 60
    options.part = options.part or list(PARTS)
    if options.rate and compiler() is None:
        parser.error("faults need Linux and a C compiler; install one, or use --rate 0")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options.library = build_library(folder) if options.rate else None
        options.bundle = (options.bundle or tiny_bundle(folder / "tiny.fer")).absolute()
        return run(options, folder)


if __name__ == "__main__":
    sys.exit(main())
